//! Pictures between steps: from the caches, or encoded in short slices.

use std::sync::Arc;
use std::time::Duration;

use ocelli_models::ImageFeatures;

use crate::features::lock;
use crate::step::Outputs;
use crate::vision::{Company, Encoded};
use crate::{Engine, Error, ImageCache, ImageKey, Output, SequenceId, Slices};

/// How long to wait for a disk when there is nothing else to do.
const DISK_WAIT: Duration = Duration::from_millis(5);

impl Engine {
    /// Keeps pictures' features on disk too, under keys of that folder. To be called before the first
    /// request.
    pub fn set_image_cache(&mut self, cache: ImageCache) {
        self.keys.images = cache.secret();
        self.keys.projector = cache.projector();
        self.disk = Some(cache);
    }

    /// Looks on disk for the pictures of a new request that are not in memory.
    pub(crate) fn look_on_disk(&mut self, id: SequenceId) {
        let (Some(disk), Some(sequence)) = (&self.disk, self.sequences.get_mut(&id)) else {
            return;
        };
        for (image, key) in sequence.picture_keys.iter().enumerate() {
            if sequence.features[image].is_none() && !lock(&self.features).has(key) {
                sequence.on_disk[image] = disk.find(*key);
            }
        }
    }

    /// Waits shortly for a disk that has been asked.
    pub(crate) fn wait_for_disk(&mut self) {
        let is_waiting = |s: &crate::Sequence| s.on_disk.contains(&true);
        if self.sequences.values().any(is_waiting) {
            self.hear_from_disk(DISK_WAIT);
        }
    }

    /// Takes in what the disk has answered.
    fn hear_from_disk(&mut self, time: Duration) {
        let mut time = time;
        while let Some((key, found)) = self.disk.as_ref().and_then(|disk| disk.found(time)) {
            time = Duration::ZERO;
            // An entry of another model's shape cannot be: its key has the projector in it.
            let found = found.filter(|f| f.width == self.model.text.hidden());
            if let Some(features) = found {
                self.counts.feature_hits_total += 1;
                self.give_features(&key, &Arc::new(features));
            }
            for sequence in self.sequences.values_mut() {
                let keys = sequence.picture_keys.iter();
                keys.zip(&mut sequence.on_disk)
                    .filter(|(own, _)| **own == key)
                    .for_each(|(_, waits)| *waits = false);
            }
        }
    }

    /// How encoding is divided into slices.
    pub fn set_slices(&mut self, slices: Slices) {
        for encoder in &mut self.encoders {
            encoder.set_slices(slices);
        }
    }

    /// Encodes a slice of a picture that is on its way, or begins with the next one. Requests that
    /// still wait have theirs encoded ahead. Small pictures have a lane of their own, so that they do
    /// not wait for the end of a large one. False when there was nothing to do.
    pub(crate) fn encode(&mut self, outputs: &mut Outputs) -> bool {
        self.hear_from_disk(Duration::ZERO);
        let lanes = self.encoders.len();
        for turn in 0..lanes {
            let lane = (self.next_lane + turn) % lanes;
            if self.encode_in(lane, outputs) {
                self.next_lane = lane + 1;
                return true;
            }
        }
        false
    }

    fn encode_in(&mut self, lane: usize, outputs: &mut Outputs) -> bool {
        let mut lanes = self.encoders.iter().enumerate();
        let takes_turns = lanes.any(|(other, e)| other != lane && e.at_work().is_some());
        let company = match takes_turns || self.scheduler.is_generating() {
            false => Company::Alone,
            true => Company::Others,
        };
        let encoder = &mut self.encoders[lane];
        let time = self.tempo.slice(encoder.slices().time);
        if let Some(work) = encoder.at_work() {
            let encoded = encoder.advance(time, company);
            self.encoded(lane, work, encoded, outputs);
            return true;
        }
        let Some((id, image)) = self.next_picture(lane) else {
            return false;
        };
        let Some(sequence) = self.sequences.get_mut(&id) else {
            return false;
        };
        let key = sequence.picture_keys[image];
        let kept = lock(&self.features).get(&key);
        if let Some(kept) = kept {
            self.counts.feature_hits_total += 1;
            self.give_features(&key, &kept);
            return true;
        }
        sequence.lap();
        self.counts.feature_misses_total += 1;
        let picture = Arc::clone(&sequence.pictures[image]);
        let encoded = self.encoders[lane].begin((id, image), picture, (time, company));
        self.encoded(lane, (id, image), encoded, outputs);
        true
    }

    /// The picture that is encoded next in a lane: one that fits it and that no other lane works on.
    /// Clients take turns.
    fn next_picture(&mut self, lane: usize) -> Option<(SequenceId, usize)> {
        let sequences = &self.sequences;
        let key_of = |(id, image): (SequenceId, usize)| {
            let sequence = sequences.get(&id)?;
            Some(sequence.picture_keys[image])
        };
        let busy: Vec<ImageKey> = self
            .encoders
            .iter()
            .filter_map(|encoder| key_of(encoder.at_work()?))
            .collect();
        let most = self.encoders[lane].most_patches();
        let next = |id: SequenceId| {
            let sequence = sequences.get(&id)?;
            let image = sequence.next_picture()?;
            let fits = sequence.pictures[image].patches.grid.patches() <= most;
            (fits && !busy.contains(&sequence.picture_keys[image])).then_some(image)
        };
        let id = self.scheduler.next_to_encode(&|id| next(id).is_some())?;
        Some((id, next(id)?))
    }

    /// Takes in what a slice brought.
    fn encoded(
        &mut self,
        lane: usize,
        (id, image): (SequenceId, usize),
        encoded: Encoded,
        outputs: &mut Outputs,
    ) {
        let Some(sequence) = self.sequences.get_mut(&id) else {
            return;
        };
        match encoded {
            Encoded::Layers { done, total } => {
                outputs.push((id, Output::Encoding { image, done, total }));
            }
            Encoded::Done { features } => {
                let total = self.model.vision.as_ref().map_or(0, |v| v.layers());
                let done = total;
                outputs.push((id, Output::Encoding { image, done, total }));
                let lap = sequence.lap();
                sequence.timings.encode += lap;
                let key = sequence.picture_keys[image];
                if let Some(disk) = &self.disk {
                    disk.keep(key, Arc::clone(&features));
                }
                self.give_features(&key, &features);
            }
            Encoded::NonFinite => {
                let stage = self.encoders[lane].first_bad_stage(&sequence.pictures[image]);
                let owner = sequence.prompt.owners[image];
                let what = format!("values of {owner} at vision {stage}");
                self.fail(id, Error::NonFinite { what }, outputs);
            }
            Encoded::Panicked => {
                let what = format!("encoding {}", sequence.prompt.owners[image]);
                self.fail_by_panic(id, &what, outputs);
            }
        }
    }

    /// Keeps a picture's features and gives them to every request that waits for them.
    fn give_features(&mut self, key: &ImageKey, features: &Arc<ImageFeatures>) {
        lock(&self.features).insert(*key, Arc::clone(features));
        for (id, sequence) in &mut self.sequences {
            let waits = |image: &usize| {
                sequence.picture_keys[*image] == *key && sequence.features[*image].is_none()
            };
            let images: Vec<usize> = (0..sequence.pictures.len()).filter(waits).collect();
            for image in &images {
                sequence.set_features(*image, Arc::clone(features));
            }
            if !images.is_empty() {
                let ready = sequence.ready();
                self.scheduler.set_ready(*id, ready);
            }
        }
    }
}
