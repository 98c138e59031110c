//! Who gets a thread and memory, and when.

use std::sync::mpsc;

use super::*;

fn needs(bytes: u64) -> Needs {
    Needs {
        bytes,
        ..Needs::default()
    }
}

fn job(bytes: u64) -> Job {
    Job {
        needs: needs(bytes),
        work: Box::new(|| {}),
        passed: 0,
    }
}

#[test]
fn what_takes_long_leaves_a_thread_to_what_does_not() {
    let pool = Pool::new(2, Meter::new(100, 1000)).unwrap();
    let (gate, open) = mpsc::channel::<()>();
    let (sender, order) = mpsc::channel();
    let open = Arc::new(Mutex::new(open));
    let submit = |client: u64, name: &'static str, length: Length| {
        let (again, sender, open) = (pool.again(), sender.clone(), open.clone());
        let needs = Needs { bytes: 1, length };
        let work = move || {
            sender.send(name).unwrap();
            if length == Length::Long {
                open.lock().unwrap().recv().unwrap();
                assert!(
                    name != "first long",
                    "a job that fails gives its thread back"
                );
            }
        };
        let job = move || again.run(ClientId(client), needs, work);
        pool.submit(ClientId(client), Box::new(job));
    };
    submit(1, "first long", Length::Long);
    assert_eq!(order.recv().unwrap(), "first long");
    submit(1, "second long", Length::Long);
    submit(2, "third long", Length::Long);
    // One of another client, and one of the same.
    submit(3, "short", Length::Short);
    assert_eq!(order.recv().unwrap(), "short");
    submit(1, "own short", Length::Short);
    assert_eq!(order.recv().unwrap(), "own short");
    for _ in 0..2 {
        gate.send(()).unwrap();
        assert!(order.recv().unwrap().ends_with("d long"));
    }
    gate.send(()).unwrap();
    drop(pool);
    assert!(order.try_recv().is_err());
}

#[test]
fn clients_take_turns_and_a_panic_ends_only_its_job() {
    let pool = Pool::new(1, Meter::new(0, 0)).unwrap();
    let (gate, open) = mpsc::channel::<()>();
    let (sender, order) = mpsc::channel();
    pool.submit(ClientId(0), Box::new(move || open.recv().unwrap()));
    for name in ["greedy 1", "greedy 2", "greedy 3"] {
        let sender = sender.clone();
        let job = move || {
            sender.send(name).unwrap();
            assert!(name != "greedy 1", "a job that fails");
        };
        pool.submit(ClientId(1), Box::new(job));
    }
    let last = sender.clone();
    pool.submit(ClientId(2), Box::new(move || last.send("modest").unwrap()));
    gate.send(()).unwrap();
    let order: Vec<_> = order.iter().take(4).collect();
    assert_eq!(order, ["greedy 1", "modest", "greedy 2", "greedy 3"]);
}

#[test]
fn a_job_waits_for_its_memory_while_smaller_ones_go_on() {
    let meter = Meter::new(100, 1000);
    let pool = Pool::new(2, meter.clone()).unwrap();
    let (gate, open) = mpsc::channel::<()>();
    let (sender, order) = mpsc::channel();
    let submit = |client: u64, bytes: u64, work: Work| {
        let again = pool.again();
        let job = move || again.run(ClientId(client), needs(bytes), work);
        pool.submit(ClientId(client), Box::new(job));
    };
    let say = |name: &'static str| -> Work {
        let sender = sender.clone();
        Box::new(move || sender.send(name).unwrap())
    };
    let began = say("first large");
    submit(
        1,
        80,
        Box::new(move || {
            began();
            open.recv().unwrap();
        }),
    );
    assert_eq!(order.recv().unwrap(), "first large");
    submit(2, 80, say("second large"));
    submit(3, 20, say("small"));
    assert_eq!(order.recv().unwrap(), "small");
    gate.send(()).unwrap();
    assert_eq!(order.recv().unwrap(), "second large");
    drop(pool);
    assert_eq!(meter.used(), (0, 0), "everything is given back");
}

#[test]
fn no_picture_is_begun_while_too_many_wait_for_the_encoder() {
    let meter = Meter::new(100, 1000);
    let waiting = meter.keep(1000);
    assert!(meter.take(1).is_none());
    assert!(meter.take(0).is_some(), "what has no pictures goes on");
    drop(waiting);
    assert!(meter.take(1).is_some());
}

#[test]
fn what_needs_no_memory_goes_on_however_long_others_wait_for_theirs() {
    let meter = Meter::new(100, 1000);
    let mut queue = Queue::default();
    let encoding = meter.keep(1000);
    queue.add(ClientId(1), job(80), false);
    for _ in 0..10 * MOST_PASSED {
        assert!(
            queue.next(&meter).is_none(),
            "threads look every few milliseconds"
        );
        queue.add(ClientId(2), job(0), false);
        assert!(queue.next(&meter).is_some(), "text has no pictures");
    }
    let waiting = &queue.waiting[&ClientId(1)][0];
    assert!(!waiting.is_starved(), "nobody took memory before it");
    drop(encoding);
    assert!(queue.next(&meter).is_some());
}

#[test]
fn a_large_job_is_not_passed_for_ever_by_those_that_begin_at_once() {
    let meter = Meter::new(100, 1000);
    let mut queue = Queue::default();
    let held = meter.take(50);
    queue.add(ClientId(1), job(80), false);
    let begun = |_: &u32| queue.take_now(&meter, needs(1)).is_some();
    assert_eq!((0..1000).take_while(begun).count(), MOST_PASSED as usize);
    assert!(queue.take_now(&meter, needs(0)).is_some());
    drop(held);
    assert!(queue.next(&meter).is_some());
    assert!(queue.take_now(&meter, needs(1)).is_some());
}

#[test]
fn a_large_job_is_not_passed_for_ever() {
    let meter = Meter::new(100, 1000);
    let mut queue = Queue::default();
    let held = meter.take(50);
    queue.add(ClientId(1), job(80), false);
    let mut passed = 0;
    loop {
        queue.add(ClientId(2), job(1), false);
        match queue.next(&meter) {
            Some(_) => passed += 1,
            None => break,
        }
        assert!(passed < 1000, "the large job starves");
    }
    drop(held);
    assert!(queue.next(&meter).is_some());
}
