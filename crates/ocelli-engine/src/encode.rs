//! Pictures between steps: from the caches, or encoded in short slices.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ocelli_models::{ImageFeatures, VisionModel};

use crate::isolate::{Panicked, guarded};
use crate::step::Outputs;
use crate::vision::{Encoded, Encoder};
use crate::{Engine, Error, ImageCache, ImageKey, Output, SequenceId};

/// How long a slice of encoding may delay the others. Layers are not cut: a slice has at least one.
const SLICE: Duration = Duration::from_millis(20);
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
            if !self.features.has(key) {
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

    /// Encodes a slice of the picture that is on its way, or begins with the next one. Requests that
    /// still wait have theirs encoded ahead. False when there was nothing to do.
    pub(crate) fn encode(&mut self, outputs: &mut Outputs) -> bool {
        self.hear_from_disk(Duration::ZERO);
        let model = Arc::clone(&self.model);
        let (Some(mut encoder), Some(vision)) = (self.encoder.take(), &model.vision) else {
            return false;
        };
        let has_worked = self.encode_with(&mut encoder, vision.as_ref(), outputs);
        self.encoder = Some(encoder);
        has_worked
    }

    fn encode_with(
        &mut self,
        encoder: &mut Encoder,
        vision: &dyn VisionModel,
        outputs: &mut Outputs,
    ) -> bool {
        let backend = Arc::clone(&self.backend);
        if encoder.is_free() {
            let Some((id, image)) = self.next_picture() else {
                return false;
            };
            let Some(sequence) = self.sequences.get_mut(&id) else {
                return false;
            };
            if let Some(kept) = self.features.get(&sequence.picture_keys[image]) {
                self.counts.feature_hits_total += 1;
                let key = sequence.picture_keys[image];
                self.give_features(&key, &kept);
                return true;
            }
            sequence.lap();
            self.counts.feature_misses_total += 1;
            let picture = &sequence.pictures[image];
            let begin = || encoder.begin(vision, backend.as_ref(), (id, image), picture);
            if guarded(begin).is_err() {
                self.fail_encoding(encoder, (id, image), outputs);
                return true;
            }
        }
        let start = Instant::now();
        for layers in 1_u32.. {
            let Some(work) = encoder.at_work() else {
                break;
            };
            let advance = || encoder.advance(vision, backend.as_ref(), 1);
            match guarded(advance) {
                Ok(Encoded::Layers { done, total, .. }) => {
                    let spent = start.elapsed();
                    let (id, image) = work;
                    // One more such layer would take too long.
                    if spent + spent / layers >= SLICE {
                        outputs.push((id, Output::Encoding { image, done, total }));
                        break;
                    }
                }
                Ok(encoded) => self.encoded((encoder, vision), work, encoded, outputs),
                Err(Panicked) => self.fail_encoding(encoder, work, outputs),
            }
        }
        true
    }

    /// The picture that is encoded next. Clients take turns.
    fn next_picture(&mut self) -> Option<(SequenceId, usize)> {
        let sequences = &self.sequences;
        let next = |id: SequenceId| sequences.get(&id)?.next_picture();
        let id = self.scheduler.next_to_encode(&|id| next(id).is_some())?;
        Some((id, next(id)?))
    }

    fn fail_encoding(
        &mut self,
        encoder: &mut Encoder,
        (id, image): (SequenceId, usize),
        outputs: &mut Outputs,
    ) {
        encoder.stop();
        let what = format!("encoding image {}", image + 1);
        self.fail_by_panic(id, &what, outputs);
    }

    /// Takes in a picture that is finished.
    fn encoded(
        &mut self,
        (encoder, vision): (&mut Encoder, &dyn VisionModel),
        (id, image): (SequenceId, usize),
        encoded: Encoded,
        outputs: &mut Outputs,
    ) {
        let Some(sequence) = self.sequences.get_mut(&id) else {
            return;
        };
        match encoded {
            Encoded::Layers { .. } => {}
            Encoded::Done { features } => {
                let total = vision.layers();
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
                let picture = &sequence.pictures[image];
                let backend = self.backend.as_ref();
                let search = || encoder.first_bad_stage(vision, backend, picture);
                let stage = guarded(search).unwrap_or_else(|_| "output".to_owned());
                let what = format!("values of image {} at vision {stage}", image + 1);
                self.fail(id, Error::NonFinite { what }, outputs);
            }
        }
    }

    /// Keeps a picture's features and gives them to every request that waits for them.
    fn give_features(&mut self, key: &ImageKey, features: &Arc<ImageFeatures>) {
        self.features.insert(*key, Arc::clone(features));
        for (id, sequence) in &mut self.sequences {
            let mut is_new = false;
            for (own, place) in sequence.picture_keys.iter().zip(&mut sequence.features) {
                if own == key && place.is_none() {
                    *place = Some(Arc::clone(features));
                    is_new = true;
                }
            }
            if is_new {
                let ready = sequence.ready();
                self.scheduler.set_ready(*id, ready);
            }
        }
    }
}
