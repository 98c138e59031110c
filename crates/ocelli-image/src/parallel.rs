//! Rows over threads: scoped standard threads, because one picture is a few milliseconds of
//! work a handful of times per request and a pool of our own would idle beside the engine's.

use std::num::NonZero;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

/// Below this many bytes of output a second thread costs more than it brings.
const BYTES_PER_THREAD: usize = 256 * 1024;

/// More threads than this only wait for memory.
const MAX_THREADS: usize = 16;

/// How many threads this process may use; asked once, because the answer is read from files.
fn most_threads() -> usize {
    static MOST: OnceLock<usize> = OnceLock::new();
    *MOST.get_or_init(|| {
        thread::available_parallelism()
            .map_or(1, NonZero::get)
            .min(MAX_THREADS)
    })
}

/// Calls `work(index, chunk)` for each chunk of `chunk_len` items of `data` (the last may be shorter),
/// in parallel where `data` is large. The result cannot depend on the number of threads.
pub(crate) fn for_each_chunk<T: Send>(
    data: &mut [T],
    chunk_len: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    for_each_chunk_with(
        data,
        chunk_len,
        || (),
        |(), index, chunk| work(index, chunk),
    );
}

/// Like [`for_each_chunk`], with scratch memory made once a thread.
pub(crate) fn for_each_chunk_with<T: Send, S>(
    data: &mut [T],
    chunk_len: usize,
    scratch: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize, &mut [T]) + Sync,
) {
    if data.is_empty() || chunk_len == 0 {
        return;
    }
    let chunks = data.len().div_ceil(chunk_len);
    let wanted = size_of_val(data) / BYTES_PER_THREAD;
    let threads = if wanted > 1 {
        wanted.min(most_threads()).min(chunks)
    } else {
        1
    };
    let run = |first: usize, part: &mut [T]| {
        let mut memory = scratch();
        for (index, chunk) in part.chunks_mut(chunk_len).enumerate() {
            work(&mut memory, first + index, chunk);
        }
    };
    if threads <= 1 {
        return run(0, data);
    }
    let share = chunks.div_ceil(threads);
    let parts = Mutex::new(data.chunks_mut(share * chunk_len).enumerate());
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some((part, data)) = next() {
            run(part * share, data);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // Without a thread from the system, this one does it all.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
}
