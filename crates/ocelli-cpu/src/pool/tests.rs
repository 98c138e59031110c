//! The pool calls each index once, whatever its threads do meanwhile.

use super::*;

#[test]
fn every_index_is_called_once() {
    for threads in [1, 2, 4, 7] {
        let pool = Pool::new(threads).unwrap();
        for count in [0, 1, 2, 3, 64, 1000] {
            let calls: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            pool.run(count, &|index, _| {
                calls[index].fetch_add(1, Ordering::Relaxed);
            });
            assert!(
                calls.iter().all(|c| c.load(Ordering::Relaxed) == 1),
                "{threads} threads, {count} indices"
            );
        }
    }
}

#[test]
fn thousands_of_small_jobs_with_pauses_lose_nothing() {
    let pool = Pool::new(4).unwrap();
    let sum = AtomicUsize::new(0);
    for job in 0..5000 {
        pool.run(5, &|index, _| {
            sum.fetch_add(index, Ordering::Relaxed);
        });
        // Some end before threads sleep, some while they do.
        if job % 500 == 0 {
            let pause = [LOOK, STAY_AWAKE][job / 500 % 2];
            std::thread::sleep(2 * pause);
        }
    }
    assert_eq!(sum.load(Ordering::Relaxed), 50_000);
}

#[test]
fn threads_look_then_let_others_run_then_sleep() {
    assert_eq!(after(Duration::ZERO), Wait::Look);
    assert_eq!(after(2 * LOOK), Wait::LetOthersRun);
    assert_eq!(after(2 * STAY_AWAKE), Wait::Sleep);
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
    let pool = Pool::new(3).unwrap();
    let result = catch_unwind(AssertUnwindSafe(|| {
        pool.run(8, &|index, _| assert!(index != 5, "index five"))
    }));
    assert!(result.is_err());
    let calls = AtomicUsize::new(0);
    pool.run(8, &|_, _| {
        calls.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(calls.load(Ordering::Relaxed), 8);
}

#[test]
fn jobs_from_several_threads_take_turns() {
    let pool = Pool::new(3).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let sum = AtomicUsize::new(0);
                    pool.run(10, &|index, _| {
                        sum.fetch_add(index, Ordering::Relaxed);
                    });
                    assert_eq!(sum.load(Ordering::Relaxed), 45);
                }
            });
        }
    });
}
