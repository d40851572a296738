//! Tasks, timers, and what other threads may do.

mod common;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{HangGuard, client, echo, for_each_reactor, run_until, runtime};
use zcn::{Runtime, UnixStream};

#[test]
fn timers_fire_in_order_and_never_early() {
    for_each_reactor(|kind| {
        let order: Rc<RefCell<Vec<u64>>> = Rc::default();
        let list = order.clone();
        runtime(kind)
            .block_on(async move {
                let start = Instant::now();
                let tasks: Vec<_> = [40u64, 10, 30, 0, 20, 10]
                    .map(|ms| {
                        let list = list.clone();
                        zcn::spawn(async move {
                            zcn::sleep(Duration::from_millis(ms)).await;
                            assert!(start.elapsed() >= Duration::from_millis(ms));
                            list.borrow_mut().push(ms);
                        })
                    })
                    .into();
                for task in tasks {
                    task.await.unwrap();
                }
            })
            .unwrap();
        assert_eq!(*order.borrow(), [0, 10, 10, 20, 30, 40]);
    });
}

#[test]
fn times_beyond_the_clock_are_as_good_as_never() {
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        runtime
            .block_on(async {
                let long = zcn::spawn(zcn::sleep(Duration::MAX));
                let value = zcn::timeout(Duration::MAX, async { 7 }).await;
                assert_eq!(value, Ok(7));
                let late = zcn::timeout(Duration::ZERO, std::future::pending::<()>()).await;
                assert_eq!(late, Err(zcn::Elapsed));
                assert!(!long.is_finished());
            })
            .unwrap();
        // A wait of that length waits, and ends when there is something to do.
        let handle = runtime.handle();
        let done = Arc::new(AtomicUsize::new(0));
        let count = done.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            handle.spawn(move || async move {
                count.fetch_add(1, Ordering::SeqCst);
            });
        });
        let mut turns = 0;
        while done.load(Ordering::SeqCst) == 0 {
            runtime.run_for(Duration::MAX).unwrap();
            turns += 1;
        }
        assert!(turns < 20, "{kind:?}: {turns} turns; it does not wait");
    });
}

#[test]
fn a_panic_ends_its_task_and_goes_on_in_whoever_awaits_it() {
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        // Nobody awaits it: the others go on.
        runtime.spawn(async { panic!("on purpose") });
        runtime
            .block_on(async { zcn::sleep(Duration::from_millis(1)).await })
            .unwrap();
        assert_eq!(runtime.stats().tasks, 0);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                zcn::spawn(async { panic!("on purpose") }).await;
            })
        }));
        let panic = outcome.unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
        // And the runtime is as good as before.
        let (one, other) = runtime
            .block_on(async { UnixStream::pair().unwrap() })
            .unwrap();
        runtime.block_on(one.send_copy(b"fine")).unwrap().unwrap();
        let text = runtime.block_on(other.recv()).unwrap().unwrap().unwrap();
        assert_eq!(&text[..], b"fine");
        assert_eq!(runtime.stats().tasks, 0);
    });
}

#[test]
fn a_panic_in_work_from_another_thread_loses_nothing_behind_it() {
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        let handle = runtime.handle();
        let done = Rc::new(Cell::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        for number in 0..10 {
            let count = count.clone();
            handle.spawn(move || {
                assert!(number % 2 == 0, "on purpose");
                async move {
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        run_until(&mut runtime, "the other five", |_| {
            count.load(Ordering::SeqCst) == 5
        });
        drop(done);
    });
}

#[test]
fn storms_of_wakes_and_spawns_from_other_threads_lose_nothing() {
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        let handle = runtime.handle();
        let ran = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (handle, ran) = (handle.clone(), ran.clone());
                std::thread::spawn(move || {
                    for number in 0..2000 {
                        let ran = ran.clone();
                        handle.spawn(move || async move {
                            ran.fetch_add(1, Ordering::SeqCst);
                        });
                        if number % 50 == 0 {
                            // Lets the loop fall asleep, so that it must be woken.
                            std::thread::sleep(Duration::from_micros(300));
                        }
                    }
                })
            })
            .collect();
        // One task that another thread wakes again and again.
        let (sender, receiver) = std::sync::mpsc::channel::<std::task::Waker>();
        let waking = std::thread::spawn(move || {
            let mut wakes = 0;
            while let Ok(waker) = receiver.recv() {
                waker.wake();
                wakes += 1;
            }
            wakes
        });
        runtime
            .block_on(async move {
                for _ in 0..3000 {
                    let mut asked = false;
                    std::future::poll_fn(|context| {
                        if std::mem::replace(&mut asked, true) {
                            return std::task::Poll::Ready(());
                        }
                        sender.send(context.waker().clone()).unwrap();
                        std::task::Poll::Pending
                    })
                    .await;
                }
            })
            .unwrap();
        assert_eq!(waking.join().unwrap(), 3000);
        run_until(&mut runtime, "all spawned", |_| {
            ran.load(Ordering::SeqCst) == 8000
        });
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_handle_outlives_its_runtime_and_keeps_nothing() {
    // What was posted stayed in the inbox, with all that it owned, until the last handle went.
    for_each_reactor(|kind| {
        let runtime = runtime(kind);
        let handle = runtime.handle();
        let witness = Arc::new(());
        let owned = witness.clone();
        handle.spawn(move || async move { drop(owned) });
        drop(runtime);
        assert_eq!(Arc::strong_count(&witness), 1, "{kind:?}: posted before");
        let owned = witness.clone();
        handle.spawn(move || async move { drop(owned) });
        handle.stop();
        assert_eq!(Arc::strong_count(&witness), 1, "{kind:?}: posted after");
    });
}

#[test]
fn a_stop_ends_block_on_with_an_error_and_run_without() {
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        let handle = runtime.handle();
        let error = runtime
            .block_on(async {
                handle.stop();
                std::future::pending::<()>().await;
            })
            .unwrap_err();
        assert!(
            error.to_string().contains("stopped before it was done"),
            "{error}"
        );
        runtime.handle().stop();
        runtime.run().unwrap();
        runtime.spawn(async { zcn::stop() });
        runtime.run().unwrap();
        // And a later wait is one, but for what a last wake-up may cut short.
        let start = Instant::now();
        let mut turns = 0;
        while start.elapsed() < Duration::from_millis(20) {
            runtime.run_for(Duration::from_millis(20)).unwrap();
            turns += 1;
        }
        assert!(turns < 20, "{kind:?}: {turns} turns; it does not wait");
    });
}

#[test]
fn a_stop_concerns_what_is_in_progress_or_the_next_run() {
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        let handle = runtime.handle();
        // Before anything runs: what begins later is not disturbed, and the stop is not lost.
        handle.stop();
        let value = runtime.block_on(async {
            zcn::sleep(Duration::from_millis(2)).await;
            1
        });
        assert_eq!(value.unwrap(), 1, "{kind:?}: the stop was for another");
        runtime.run_for(Duration::from_millis(2)).unwrap();
        runtime.run().unwrap();
        // It has had its effect: this one is ended by a second.
        let asked = Arc::new(AtomicBool::new(false));
        let second = std::thread::spawn({
            let (handle, asked) = (handle.clone(), asked.clone());
            move || {
                std::thread::sleep(Duration::from_millis(20));
                asked.store(true, Ordering::SeqCst);
                handle.stop();
            }
        });
        runtime.run().unwrap();
        assert!(asked.load(Ordering::SeqCst), "{kind:?}: ended by the first");
        second.join().unwrap();
        // One that came while something was in progress, which ended by itself.
        runtime.block_on(async { handle.stop() }).unwrap();
        runtime.run().unwrap();
    });
}

#[test]
fn a_runtime_inside_a_task_of_another_works() {
    for_each_reactor(|kind| {
        let mut outer = runtime(kind);
        let value = outer
            .block_on(async move {
                let task = zcn::spawn(async move {
                    let mut inner = runtime(kind);
                    let value = inner
                        .block_on(async {
                            zcn::sleep(Duration::from_millis(2)).await;
                            zcn::spawn(async { 20 }).await.unwrap()
                        })
                        .unwrap();
                    // The outer one is the current one again.
                    value + zcn::spawn(async { 22 }).await.unwrap()
                });
                task.await.unwrap()
            })
            .unwrap();
        assert_eq!(value, 42);
    });
}

#[test]
fn what_needs_a_runtime_says_so_without_one() {
    let error = zcn::TcpListener::bind(common::any())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no zcn runtime is running on this thread"),
        "{error}"
    );
    assert!(error.contains("Runtime::block_on"), "{error}");
    assert!(zcn::buffer().is_none());
    zcn::stop();
    let panic = catch_unwind(|| drop(zcn::spawn(async {}))).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("no zcn runtime"), "{text}");
    // Waiting in silence for ever is no answer either.
    let panic = catch_unwind(|| {
        let mut sleep = Box::pin(zcn::sleep(Duration::from_millis(1)));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = sleep.as_mut().poll(&mut context);
    })
    .unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("no zcn runtime"), "{text}");
}

#[test]
fn a_task_dropped_unfinished_tells_whoever_awaits_it() {
    for_each_reactor(|kind| {
        let first = runtime(kind);
        let task = first.spawn(std::future::pending::<()>());
        drop(first);
        assert_eq!(runtime(kind).block_on(task).unwrap(), None);
    });
}

#[test]
fn run_once_embeds_the_loop_in_another() {
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        let (server, address) = echo(&runtime);
        let thread = std::thread::spawn(move || common::talk(address, 300_000, 1));
        while !thread.is_finished() {
            runtime.run_once().unwrap();
        }
        thread.join().unwrap();
        run_until(&mut runtime, "closed", |_| server.stats().closed == 1);
    });
}

#[test]
fn a_spinning_runtime_answers_and_then_sleeps() {
    // On epoll it never stopped spinning.
    for_each_reactor(|kind| {
        let mut runtime = Runtime::builder()
            .reactor(kind)
            .sleep(zcn::Sleep::Spin(Duration::from_micros(200)))
            .build()
            .unwrap();
        let (_server, address) = echo(&runtime);
        common::serve(&mut runtime, move || {
            let mut streams: Vec<_> = (0..5).map(|_| client(address)).collect();
            for round in 0..500u32 {
                let stream = &mut streams[round as usize % 5];
                std::io::Write::write_all(stream, &round.to_le_bytes()).unwrap();
                let mut answer = [0; 4];
                std::io::Read::read_exact(stream, &mut answer).unwrap();
                assert_eq!(answer, round.to_le_bytes());
            }
            common::talk(address, 8 << 20, 3);
        });
        run_until(&mut runtime, "closed", |runtime| {
            runtime.stats().connections == 0
        });
        let before = runtime.stats().reactor.system_calls;
        let _guard = HangGuard::new("sleeping".into());
        runtime
            .block_on(async { zcn::sleep(Duration::from_millis(300)).await })
            .unwrap();
        let calls = runtime.stats().reactor.system_calls - before;
        // 200 µs of spinning take some hundred; 300 ms of it a hundred thousand.
        assert!(calls < 5000, "{kind:?}: {calls} system calls while idle");
    });
}

#[test]
fn timers_are_kept_while_a_spinning_runtime_always_finds_something_for_its_main_task() {
    for_each_reactor(|kind| {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let mut runtime = Runtime::builder()
            .reactor(kind)
            .sleep(zcn::Sleep::Spin(Duration::from_secs(3600)))
            .build()
            .unwrap();
        runtime
            .block_on(async {
                let stream = zcn::TcpStream::connect(address).await.unwrap();
                let (mut peer, _) = listener.accept().unwrap();
                let due = Instant::now() + Duration::from_millis(5);
                let timer = zcn::spawn(zcn::sleep_until(due));
                let mut late = 0;
                while !timer.is_finished() {
                    std::io::Write::write_all(&mut peer, b"x").unwrap();
                    stream.recv().await.unwrap().expect("no end");
                    late += u32::from(Instant::now() > due);
                    assert!(late < 1000, "{kind:?}: the timer does not come to its turn");
                }
            })
            .unwrap();
    });
}

#[test]
fn a_flush_ends_at_once_on_a_spinning_runtime() {
    // What a send that was made directly woke was polled when the spin was over.
    async fn answer(address: std::net::SocketAddr) {
        let stream = zcn::TcpStream::connect(address).await.unwrap();
        while let Some(bytes) = stream.recv().await.unwrap() {
            stream.send_copy(&bytes).await.unwrap();
            stream.flush().await.unwrap();
            stream.send_copy(&bytes).await.unwrap();
        }
    }
    for_each_reactor(|kind| {
        for spawned in [false, true] {
            let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
            let address = listener.local_addr().unwrap();
            let peer = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(common::HANG)).unwrap();
                for round in 0..50u8 {
                    std::io::Write::write_all(&mut stream, &[round]).unwrap();
                    let mut answers = [0; 2];
                    std::io::Read::read_exact(&mut stream, &mut answers).unwrap();
                    assert_eq!(answers, [round; 2]);
                }
            });
            let mut runtime = Runtime::builder()
                .reactor(kind)
                .sleep(zcn::Sleep::Spin(Duration::from_secs(3600)))
                .build()
                .unwrap();
            let answering = async move {
                match spawned {
                    true => zcn::spawn(answer(address)).await.unwrap(),
                    false => answer(address).await,
                }
            };
            runtime.block_on(answering).unwrap();
            peer.join().unwrap();
        }
    });
}

#[test]
fn timers_are_kept_while_spinning() {
    for_each_reactor(|kind| {
        let mut runtime = Runtime::builder()
            .reactor(kind)
            .sleep(zcn::Sleep::Spin(Duration::from_secs(3600)))
            .build()
            .unwrap();
        runtime
            .block_on(async {
                for _ in 0..20 {
                    zcn::sleep(Duration::from_micros(500)).await;
                }
            })
            .unwrap();
        let handle = runtime.handle();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            handle.stop();
        });
        runtime.run().unwrap();
    });
}
