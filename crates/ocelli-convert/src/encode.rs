//! Writing files tensor by tensor: runs of elements are read and encoded on all cores and written
//! in order, so that memory stays at some megabytes for each core whatever the size of a tensor.

use std::num::NonZero;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use ocelli_gguf::{Gguf, StreamWriter, Value, Writer};
use ocelli_quant::{TensorType, quantize};

use crate::Error;
use crate::source::Source;

/// Elements that are encoded at once, unless a source's smallest run is larger.
const RUN_ELEMENTS: usize = 1 << 18;

/// How far a conversion is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The file being written, by its final name.
    pub file: &'a Path,
    /// The tensor being written.
    pub tensor: &'a str,
    /// Bytes of tensors written so far, of all files together.
    pub bytes_done: u64,
    /// Bytes of all tensors of all files.
    pub bytes_total: u64,
}

/// Called after each written run of elements; `ControlFlow::Break` ends the work with
/// [`Error::Stopped`] and leaves no file behind.
pub type OnProgress<'a> = dyn FnMut(Progress<'_>) -> ControlFlow<()> + 'a;

/// A tensor to be written.
pub(crate) struct Output<'a> {
    pub(crate) name: String,
    /// Fastest-varying first.
    pub(crate) shape: Vec<u64>,
    pub(crate) ty: TensorType,
    pub(crate) source: Box<dyn Source + 'a>,
}

impl Output<'_> {
    fn elements(&self) -> usize {
        self.shape.iter().product::<u64>() as usize
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.ty.row_bytes(self.elements()).unwrap_or(0) as u64
    }

    /// The runs in which the tensor is written: all of one length but the last.
    fn run_length(&self) -> usize {
        let row = self.shape.first().map_or(1, |&row| row as usize);
        let granule = self.source.granule().max(row).max(1);
        (RUN_ELEMENTS / granule).max(1) * granule
    }

    /// Reads and encodes a run of elements.
    fn encode(&self, run: Range<usize>) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        if self.source.stored_type() == Some(self.ty) {
            self.source.read_bytes(run, &mut bytes)?;
            return Ok(bytes);
        }
        let mut values = Vec::with_capacity(run.len());
        self.source.read(run, &mut values)?;
        self.check_values(&values)?;
        quantize(self.ty, &values, &mut bytes).map_err(|source| Error::Quant {
            name: self.name.clone(),
            source,
        })?;
        Ok(bytes)
    }

    /// Refuses values that the type cannot hold; wider floats hold all.
    fn check_values(&self, values: &[f32]) -> Result<(), Error> {
        if matches!(self.ty, TensorType::F32 | TensorType::BF16) {
            return Ok(());
        }
        // A half's largest value is 65504; everything from the middle to the next power of two on
        // becomes infinite.
        const TOO_LARGE: f32 = 65520.0;
        let is_half = self.ty == TensorType::F16;
        let need = match is_half {
            true => "magnitudes below 65520; choose bf16 or f32",
            false => "finite values",
        };
        let limit = if is_half { TOO_LARGE } else { f32::INFINITY };
        // NaN is below nothing. All values are compared without a branch; only then is the bad one
        // looked for.
        let is_good = |x: &f32| x.abs() < limit;
        if values.iter().fold(true, |good, x| good & is_good(x)) {
            return Ok(());
        }
        match values.iter().find(|x| !is_good(x)) {
            None => Ok(()),
            Some(found) => Err(Error::Values {
                name: self.name.clone(),
                ty: self.ty.name(),
                found: found.to_string(),
                need,
            }),
        }
    }
}

/// A file to be written.
pub(crate) struct OutputFile<'a> {
    pub(crate) path: PathBuf,
    pub(crate) metadata: Vec<(String, Value)>,
    pub(crate) tensors: Vec<Output<'a>>,
}

impl OutputFile<'_> {
    fn start(&self) -> Result<StreamWriter, Error> {
        let mut writer = Writer::new();
        for (key, value) in &self.metadata {
            writer.set(key.as_str(), value.clone());
        }
        for tensor in &self.tensors {
            writer.declare_tensor(tensor.name.as_str(), &tensor.shape, tensor.ty);
        }
        Ok(writer.start(&self.path)?)
    }
}

/// Writes all files or none: they get their names when all are complete and the GGUF files they
/// were read from are still what they were.
///
/// # Errors
/// When reading, encoding or writing fails, an input changed, or `on_progress` says stop.
pub(crate) fn write_files(
    files: &[OutputFile<'_>],
    inputs: &[&Gguf],
    threads: Option<NonZero<usize>>,
    on_progress: &mut OnProgress<'_>,
) -> Result<(), Error> {
    let bytes_total = files
        .iter()
        .flat_map(|f| &f.tensors)
        .map(Output::bytes)
        .sum();
    let mut bytes_done = 0;
    let mut streams = Vec::with_capacity(files.len());
    for file in files {
        let mut stream = file.start()?;
        let mut write = |tensor: &Output<'_>, bytes: &[u8]| {
            stream.write(&tensor.name, bytes)?;
            bytes_done += bytes.len() as u64;
            let progress = Progress {
                file: &file.path,
                tensor: &tensor.name,
                bytes_done,
                bytes_total,
            };
            match on_progress(progress) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(Error::Stopped),
            }
        };
        encode_all(&file.tensors, threads, &mut write)?;
        streams.push(stream);
    }
    inputs.iter().try_for_each(|input| input.unchanged())?;
    publish(files, streams)
}

fn publish(files: &[OutputFile<'_>], streams: Vec<StreamWriter>) -> Result<(), Error> {
    for (done, stream) in streams.into_iter().enumerate() {
        if let Err(error) = stream.finish() {
            // The files before it are complete, but half a pair is worse than none.
            for file in &files[..done] {
                let _ = std::fs::remove_file(&file.path);
            }
            return Err(error.into());
        }
    }
    Ok(())
}

/// A run of elements of one tensor.
#[derive(Clone)]
struct Run {
    tensor: usize,
    elements: Range<usize>,
}

fn runs(tensors: &[Output<'_>]) -> Vec<Run> {
    let of_tensor = |(index, tensor): (usize, &Output<'_>)| {
        let (all, length) = (tensor.elements(), tensor.run_length());
        let run = move |start| Run {
            tensor: index,
            elements: start..(start + length).min(all),
        };
        (0..all).step_by(length).map(run).collect::<Vec<_>>()
    };
    tensors.iter().enumerate().flat_map(of_tensor).collect()
}

type Write<'w> = dyn FnMut(&Output<'_>, &[u8]) -> Result<(), Error> + 'w;

/// Encodes on all cores; hands the bytes to `write` in order.
fn encode_all(
    tensors: &[Output<'_>],
    threads: Option<NonZero<usize>>,
    write: &mut Write<'_>,
) -> Result<(), Error> {
    let runs = runs(tensors);
    let available = || thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let threads = threads.unwrap_or_else(available).get().min(runs.len());
    thread::scope(|scope| {
        // Run i is thread i % threads' work, so that results are taken in order from one channel
        // after the other.
        let channels: Vec<Receiver<_>> = (0..threads)
            .map(|number| {
                let (sender, receiver) = sync_channel(1);
                let own = runs.iter().skip(number).step_by(threads);
                let work = move || encode_some(tensors, own, &sender);
                let spawned = thread::Builder::new().spawn_scoped(scope, work);
                spawned.map(|_| receiver).map_err(Error::NoThread)
            })
            .collect::<Result<_, _>>()?;
        for (index, run) in runs.iter().enumerate() {
            let encoded = channels[index % threads].recv();
            let bytes = encoded.map_err(|_| Error::Thread)??;
            let tensor = &tensors[run.tensor];
            write(tensor, &bytes)?;
            if run.elements.end == tensor.elements() {
                tensor.source.release();
            }
        }
        Ok(())
    })
}

fn encode_some<'r>(
    tensors: &[Output<'_>],
    runs: impl Iterator<Item = &'r Run>,
    sender: &SyncSender<Result<Vec<u8>, Error>>,
) {
    for run in runs {
        let encoded = tensors[run.tensor].encode(run.elements.clone());
        // Nobody listens when the writer gave up.
        if sender.send(encoded).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Numbers;

    #[test]
    fn a_large_tensor_is_written_in_runs_of_whole_rows_that_stay_small() {
        let tensor = |shape: [u64; 2]| Output {
            name: "t".to_owned(),
            shape: shape.to_vec(),
            ty: TensorType::Q8_0,
            source: Box::new(Numbers(Vec::new())),
        };
        let tensors = [tensor([1536, 1000]), tensor([1 << 19, 2]), tensor([32, 1])];
        let runs = runs(&tensors);
        assert!(
            runs.iter()
                .all(|run| run.elements.len() <= RUN_ELEMENTS.max(1 << 19))
        );
        assert!(runs.iter().all(|run| run.elements.len().is_multiple_of(32)));
        let of = |tensor| runs.iter().filter(move |run| run.tensor == tensor);
        assert_eq!(
            of(0).map(|run| run.elements.len()).sum::<usize>(),
            1_536_000
        );
        assert!(of(0).all(|run| run.elements.start.is_multiple_of(1536)));
        assert_eq!((of(0).count(), of(1).count(), of(2).count()), (6, 2, 1));
    }
}
