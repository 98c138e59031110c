//! Experts of a mixture, in the three layouts that checkpoints have: one tensor for each expert, or
//! all in one, either transposed (the hub) or as the modelling code computes (saved again by it).

use crate::Error;
use crate::hub::{Experts, Shelf};
use crate::source::{Source, Stacked, Strided, Transposed};
use crate::text::Tensor;

/// Router and experts of one layer; `width` is that of the model.
pub(crate) fn experts(
    width: usize,
    sizes: Experts,
    shelf: &mut Shelf,
    layer: usize,
) -> Result<Vec<Tensor>, Error> {
    let block = Block {
        hub: format!("layers.{layer}.mlp."),
        name: format!("blk.{layer}."),
        into: [sizes.count, sizes.hidden, width],
        out: [sizes.count, width, sizes.hidden],
    };
    let shape = [sizes.count, width];
    let router = shelf.take(&format!("{}gate.weight", block.hub), &shape)?;
    let name = format!("{}ffn_gate_inp.weight", block.name);
    let mut tensors = vec![Tensor::new(name, &shape, Strided::whole(router))];
    tensors.extend(match block.layout(shelf) {
        Layout::Apart => block.apart(shelf)?,
        Layout::Hub => block.hub(shelf)?,
        Layout::Modelling => block.modelling(shelf)?,
    });
    Ok(tensors)
}

enum Layout {
    Apart,
    Hub,
    Modelling,
}

/// One layer's experts.
struct Block {
    /// What names in the checkpoint start with.
    hub: String,
    /// What names in the file start with.
    name: String,
    /// Shape of gate and up: `[experts, hidden, width]`.
    into: [usize; 3],
    /// Shape of down: `[experts, width, hidden]`.
    out: [usize; 3],
}

impl Block {
    fn gate_up(&self) -> String {
        format!("{}experts.gate_up_proj", self.hub)
    }

    fn down(&self) -> String {
        format!("{}experts.down_proj", self.hub)
    }

    fn layout(&self, shelf: &Shelf) -> Layout {
        let [count, hidden, width] = self.into;
        let (gate_up, down) = (shelf.shape(&self.gate_up()), shelf.shape(&self.down()));
        if gate_up.is_none() {
            return Layout::Apart;
        }
        // Where the sides of one tensor are equal, those of the other are not.
        let is_hub = match hidden == width {
            true => gate_up == Some(&[count, width, 2 * hidden]),
            false => down == Some(&self.into),
        };
        match is_hub {
            true => Layout::Hub,
            false => Layout::Modelling,
        }
    }

    fn tensor(&self, name: &str, shape: &[usize], source: impl Source + 'static) -> Tensor {
        Tensor::new(format!("{}{name}.weight", self.name), shape, source)
    }

    fn apart(&self, shelf: &mut Shelf) -> Result<Vec<Tensor>, Error> {
        let [count, hidden, width] = self.into;
        let mut stack = |from: &str, name: &str, shape: &[usize; 3]| {
            let one = |expert: usize| {
                let hub_name = format!("{}experts.{expert}.{from}.weight", self.hub);
                let tensor = shelf.take(&hub_name, &shape[1..])?;
                Ok(Box::new(Strided::whole(tensor)) as Box<dyn Source>)
            };
            let parts = (0..count).map(one).collect::<Result<_, Error>>()?;
            let length = hidden * width;
            Ok::<_, Error>(self.tensor(name, shape, Stacked { parts, length }))
        };
        Ok(vec![
            stack("gate_proj", "ffn_gate_exps", &self.into)?,
            stack("up_proj", "ffn_up_exps", &self.into)?,
            stack("down_proj", "ffn_down_exps", &self.out)?,
        ])
    }

    /// Gate and up side by side as columns, all transposed.
    fn hub(&self, shelf: &mut Shelf) -> Result<Vec<Tensor>, Error> {
        let [count, hidden, width] = self.into;
        let (rows, columns) = (width, 2 * hidden);
        let mut half = |start: usize, name: &str| {
            let tensor = shelf.take(&self.gate_up(), &[count, rows, columns])?;
            let taken = start..start + hidden;
            let source = Transposed {
                tensor,
                rows,
                columns,
                taken,
            };
            Ok::<_, Error>(self.tensor(name, &self.into, source))
        };
        let (gate, up) = (half(0, "ffn_gate_exps")?, half(hidden, "ffn_up_exps")?);
        let source = Transposed {
            tensor: shelf.take(&self.down(), &self.into)?,
            rows: hidden,
            columns: width,
            taken: 0..width,
        };
        let down = self.tensor("ffn_down_exps", &self.out, source);
        Ok(vec![gate, up, down])
    }

    /// Gate and up one after the other in each expert.
    fn modelling(&self, shelf: &mut Shelf) -> Result<Vec<Tensor>, Error> {
        let [count, hidden, width] = self.into;
        let length = hidden * width;
        let mut half = |start: usize, name: &str| {
            let source = Strided {
                tensor: shelf.take(&self.gate_up(), &[count, 2 * hidden, width])?,
                start,
                length,
                stride: 2 * length,
                row: width,
            };
            Ok::<_, Error>(self.tensor(name, &self.into, source))
        };
        let (gate, up) = (half(0, "ffn_gate_exps")?, half(length, "ffn_up_exps")?);
        let down = Strided::whole(shelf.take(&self.down(), &self.out)?);
        Ok(vec![
            gate,
            up,
            self.tensor("ffn_down_exps", &self.out, down),
        ])
    }
}
