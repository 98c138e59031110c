//! Video files through the user's `ffmpeg` and `ffprobe`.
//!
//! `ffprobe` says how many frames there are and how fast they are; `ffmpeg` then sends only the frames that
//! are looked at, each with its size (as PPM), so that a turned or changing picture is known as such. Both
//! may open the file and nothing else: a playlist cannot make them fetch from the network.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ocelli_image::{Limits, RgbImage};
use serde_json::Value;

use super::child::Running;
use super::{Ffmpeg, Wrong};

/// Most bytes that `ffprobe` may say.
const PROBE_BYTES: usize = 1 << 20;

/// Frames that may be missing at the end: containers count some that no decoder gives.
const MISSING: usize = 2;

/// A video file.
pub(super) struct Film<'a> {
    ffmpeg: &'a Ffmpeg,
    path: PathBuf,
    /// Number of its frames.
    pub(super) frames: u64,
    /// Frames of a second, on average.
    pub(super) fps: f64,
}

impl<'a> Film<'a> {
    /// Asks `ffprobe` about a file.
    pub(super) fn open(ffmpeg: &'a Ffmpeg, path: &Path) -> Result<Self, Wrong> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let stream = probe(ffmpeg, &path, &[])?;
        check_size(&stream)?;
        let fps = ["avg_frame_rate", "r_frame_rate"]
            .iter()
            .find_map(|key| rate(stream[*key].as_str()?));
        let fps = fps.ok_or_else(|| {
            Wrong::bad("found no frame rate, need frames that follow each other in time")
        })?;
        let mut frames = number(&stream["nb_frames"]);
        if frames.is_none() {
            // Containers without an index say it only after all was read.
            let counted = probe(ffmpeg, &path, &["-count_packets"])?;
            frames = number(&counted["nb_read_packets"]);
        }
        Ok(Self {
            ffmpeg,
            path,
            frames: frames.unwrap_or(0),
            fps,
        })
    }

    /// Shows the frames of `indices`, which ascend.
    pub(super) fn each(
        &self,
        indices: &[u64],
        see: &mut dyn FnMut(RgbImage) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        let mut wanted = indices.to_vec();
        wanted.dedup();
        let running = Running::start(self.ffmpeg, "ffmpeg", &arguments(&self.path, &wanted))?;
        let mut stream = Stream {
            running,
            held: Vec::new(),
        };
        let mut frames = indices.iter().peekable();
        let (mut last, mut found) = (None, 0);
        for index in &wanted {
            let Some(image) = stream.image()? else { break };
            while frames.next_if_eq(&index).is_some() {
                see(image.clone())?;
                found += 1;
            }
            last = Some(image);
        }
        // What ffmpeg has to say explains why frames are missing.
        stream.running.finish()?;
        let missing = indices.len() - found;
        match last {
            Some(last) if missing <= MISSING => (0..missing).try_for_each(|_| see(last.clone())),
            _ => Err(Wrong::bad(format_args!(
                "ffmpeg gave {found} frames, need {}. The file may be damaged or cut off",
                indices.len()
            ))),
        }
    }
}

/// Only this file, under a name that is never taken for an option.
fn file(path: &Path) -> OsString {
    let mut name = OsString::from("file:");
    name.push(path);
    name
}

fn arguments(path: &Path, indices: &[u64]) -> Vec<OsString> {
    // Frames are given new times, one after the other, or they would be repeated to fill the gaps.
    let filter = format!("select={},setpts=N/(25*TB)", chosen(indices));
    let count = indices.len().to_string();
    let mut arguments: Vec<OsString> = [
        "-nostdin",
        "-hide_banner",
        "-v",
        "error",
        "-protocol_whitelist",
        "file",
        "-i",
    ]
    .map(OsString::from)
    .into();
    arguments.push(file(path));
    arguments.extend(
        [
            "-map",
            "0:V:0",
            "-vf",
            &filter,
            "-r",
            "25",
            "-frames:v",
            &count,
        ]
        .map(OsString::from),
    );
    arguments.extend(
        [
            "-f",
            "image2pipe",
            "-c:v",
            "ppm",
            "-pix_fmt",
            "rgb24",
            "pipe:1",
        ]
        .map(OsString::from),
    );
    arguments
}

/// An expression that is true for these frames. A tree, since ffmpeg refuses a sum of some hundred terms.
fn chosen(indices: &[u64]) -> String {
    match indices {
        [] => "0".to_owned(),
        [one] => format!("eq(n\\,{one})"),
        _ => {
            let (left, right) = indices.split_at(indices.len() / 2);
            let (first, left, right) = (right[0], chosen(left), chosen(right));
            format!("if(lt(n\\,{first})\\,{left}\\,{right})")
        }
    }
}

/// What `ffprobe` says of the first moving picture of a file.
fn probe(ffmpeg: &Ffmpeg, path: &Path, extra: &[&str]) -> Result<Value, Wrong> {
    let entries = "stream=width,height,avg_frame_rate,r_frame_rate,nb_frames,nb_read_packets";
    let mut arguments: Vec<OsString> =
        ["-hide_banner", "-v", "error", "-protocol_whitelist", "file"]
            .map(OsString::from)
            .into();
    arguments.extend(extra.iter().map(OsString::from));
    arguments.extend(
        [
            "-select_streams",
            "V:0",
            "-show_entries",
            entries,
            "-of",
            "json",
            "-i",
        ]
        .map(OsString::from),
    );
    arguments.push(file(path));
    let mut running = Running::start(ffmpeg, "ffprobe", &arguments)?;
    let mut said = Vec::new();
    while let Some(bytes) = running.read()? {
        said.extend_from_slice(&bytes);
        if said.len() > PROBE_BYTES {
            return Err(Wrong::bad("ffprobe says more than a video has to say"));
        }
    }
    running.finish()?;
    let said: Value = serde_json::from_slice(&said)
        .map_err(|error| Wrong::bad(format_args!("ffprobe: found no JSON: {error}")))?;
    match said["streams"].as_array().map(Vec::as_slice) {
        Some([stream, ..]) => Ok(stream.clone()),
        _ => Err(Wrong::bad("found no video in it, need one")),
    }
}

fn check_size(stream: &Value) -> Result<(), Wrong> {
    let side = |key: &str| stream[key].as_u64().and_then(|n| u32::try_from(n).ok());
    let (Some(width), Some(height)) = (side("width"), side("height")) else {
        return Err(Wrong::bad("found a video without a size"));
    };
    refuse_large(width, height)
}

fn refuse_large(width: u32, height: u32) -> Result<(), Wrong> {
    let limits = Limits::default();
    let pixels = u64::from(width) * u64::from(height);
    if width == 0 || height == 0 {
        return Err(ocelli_image::Error::NoPixels { width, height }.into());
    }
    if pixels > limits.pixels || width.max(height) > limits.side {
        let limit = limits.side;
        return Err(ocelli_image::Error::SideTooLong {
            width,
            height,
            limit,
        }
        .into());
    }
    Ok(())
}

/// A fraction such as `30000/1001`, if it is a rate.
fn rate(text: &str) -> Option<f64> {
    let (over, under) = text.split_once('/').unwrap_or((text, "1"));
    let rate = over.parse::<f64>().ok()? / under.parse::<f64>().ok()?;
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

/// A number above zero, which `ffprobe` writes as a string.
fn number(value: &Value) -> Option<u64> {
    let number = value.as_str()?.parse().ok()?;
    (number > 0).then_some(number)
}

/// PPM pictures that follow each other.
struct Stream {
    running: Running,
    /// Bytes that were read and not used.
    held: Vec<u8>,
}

impl Stream {
    /// Makes sure that so many bytes are held; false at the end.
    fn fill(&mut self, count: usize) -> Result<bool, Wrong> {
        while self.held.len() < count {
            match self.running.read()? {
                Some(bytes) => self.held.extend_from_slice(&bytes),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The next picture; none at the end, a picture that is cut off included: the program then says why.
    fn image(&mut self) -> Result<Option<RgbImage>, Wrong> {
        let mut length = 16;
        let (header, width, height) = loop {
            let is_more = self.fill(length)?;
            match parse_header(&self.held)? {
                Some(found) => break found,
                None if !is_more => return Ok(None),
                None => length += 16,
            }
        };
        refuse_large(width, height)?;
        let end = header + width as usize * height as usize * 3;
        if !self.fill(end)? {
            return Ok(None);
        }
        let pixels = self.held[header..end].to_vec();
        self.held.drain(..end);
        Ok(Some(RgbImage::new(width, height, pixels)?))
    }
}

/// Bytes of the header, width and height of a PPM picture; none if the header goes on.
fn parse_header(bytes: &[u8]) -> Result<Option<(usize, u32, u32)>, Wrong> {
    let wrong = || Wrong::bad("ffmpeg gave something else than pictures");
    let head = &bytes[..bytes.len().min(64)];
    let ends: Vec<usize> = (0..head.len())
        .filter(|&i| head[i].is_ascii_whitespace())
        .collect();
    let [a, b, c, d, ..] = ends[..] else {
        return match head.len() < 64 {
            true => Ok(None),
            false => Err(wrong()),
        };
    };
    let text = |from: usize, to: usize| std::str::from_utf8(&head[from..to]).unwrap_or_default();
    let side = |from: usize, to: usize| text(from, to).parse::<u32>().map_err(|_| wrong());
    if text(0, a) != "P6" || text(c + 1, d) != "255" {
        return Err(wrong());
    }
    Ok(Some((d + 1, side(a + 1, b)?, side(b + 1, c)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_fractions_and_nothing_over_nothing_is_none() {
        assert_eq!(rate("30000/1001"), Some(30000.0 / 1001.0));
        assert_eq!(rate("25"), Some(25.0));
        for none in ["0/0", "1/0", "-1/1", "x", "", "nan"] {
            assert_eq!(rate(none), None, "{none}");
        }
    }

    #[test]
    fn headers_of_pictures_are_read_and_garbage_is_refused() {
        let header = parse_header(b"P6\n40 30\n255\nxyz").unwrap();
        assert_eq!(header, Some((13, 40, 30)));
        assert_eq!(parse_header(b"P6\n40 3").unwrap(), None);
        assert!(parse_header(b"P5\n40 30\n255\nxyz").is_err());
        assert!(parse_header(b"P6\n-4 30\n255\nxyz").is_err());
        assert!(parse_header(&[b'x'; 80]).is_err());
    }

    #[test]
    fn a_file_is_never_an_option_and_nothing_else_may_be_opened() {
        let arguments = arguments(Path::new("/-i"), &[0, 7]);
        assert!(arguments.contains(&"file:/-i".into()));
        let at = arguments.iter().position(|a| a == "-protocol_whitelist");
        assert_eq!(arguments[at.unwrap() + 1], "file");
        assert!(arguments.iter().any(|a| {
            a.to_str()
                .is_some_and(|a| a.contains("select=if(lt(n\\,7)\\,eq(n\\,0)\\,eq(n\\,7)),"))
        }));
    }
}
