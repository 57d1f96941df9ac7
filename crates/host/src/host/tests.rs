//! The life of tasks in paused time: nothing here sleeps.

use std::sync::{Mutex, mpsc};

use tokio::time::sleep;

use super::*;

const S: Duration = Duration::from_secs(1);

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn say(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn host() -> Host {
    Host::new(Options { start: 10 * S, drain: 20 * S, abort: S })
}

/// Starts a task that is ready after `start` and takes `drain` to end.
async fn start(host: &mut Host, log: &Log, name: &'static str, start: Duration, drain: Duration) {
    let log = log.clone();
    let task = |ready: Ready, shutdown: Shutdown| async move {
        sleep(start).await;
        log.say(format!("{name} ready"));
        ready.ready();
        shutdown.drain().await;
        log.say(format!("{name} drains"));
        sleep(drain).await;
        log.say(format!("{name} ends"));
        Ok(())
    };
    host.start(name, OnEnd::Shutdown, task).await.unwrap();
}

fn how(report: &Report, name: &str) -> String {
    report
        .ended
        .iter()
        .find(|ended| ended.name == name)
        .map_or("still there".to_owned(), |e| e.how.to_string())
}

#[tokio::test(start_paused = true)]
async fn tasks_start_one_after_the_other_and_stop_in_reverse() {
    let (mut host, log) = (host(), Log::default());
    start(&mut host, &log, "store", 3 * S, 2 * S).await;
    start(&mut host, &log, "registry", S, S).await;
    start(&mut host, &log, "edge", Duration::ZERO, 5 * S).await;
    assert_eq!(log.take(), ["store ready", "registry ready", "edge ready"]);
    host.trigger().signal();
    let begun = Instant::now();
    let report = host.run().await;
    assert_eq!(
        log.take(),
        ["edge drains", "edge ends", "registry drains", "registry ends", "store drains", "store ends"]
    );
    assert_eq!(begun.elapsed(), 8 * S);
    assert!(report.is_clean(), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_unasked_is_named_and_ends_the_rest() {
    let (mut host, log) = (host(), Log::default());
    start(&mut host, &log, "store", Duration::ZERO, S).await;
    let task = |ready: Ready, _| async move {
        ready.ready();
        sleep(S).await;
        Err("the socket is gone".into())
    };
    host.start("edge", OnEnd::Shutdown, task).await.unwrap();
    let report = host.run().await;
    assert_eq!(report.cause, Cause::Task("edge".to_owned()));
    assert_eq!(how(&report, "edge"), "failed: the socket is gone");
    assert_eq!(how(&report, "store"), "finished");
    assert!(!report.is_clean());
    assert_eq!(log.take(), ["store ready", "store drains", "store ends"]);
}

#[tokio::test(start_paused = true)]
async fn policies_say_which_ends_matter() {
    async fn panics(_: Ready, _: Shutdown) -> Result<(), TaskError> {
        panic!("boom {}", 7)
    }
    for (on_end, fails, ends) in [
        (OnEnd::Shutdown, false, true),
        (OnEnd::MayFinish, false, false),
        (OnEnd::MayFinish, true, true),
        (OnEnd::Continue, true, false),
    ] {
        let mut host = host();
        let task = move |ready: Ready, shutdown: Shutdown| async move {
            ready.ready();
            match fails {
                true => panics(Ready::new().0, shutdown).await,
                false => Ok(()),
            }
        };
        host.start("job", on_end, task).await.unwrap();
        let trigger = host.trigger();
        let asks = async move {
            sleep(S).await;
            trigger.signal();
        };
        let (report, ()) = tokio::join!(host.run(), asks);
        let expected = if ends { Cause::Task("job".to_owned()) } else { Cause::Asked };
        assert_eq!(report.cause, expected, "{on_end:?}, fails: {fails}");
        assert_eq!(how(&report, "job"), if fails { "panicked: boom 7" } else { "finished" });
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_before_it_is_ready_fails_the_start_with_its_reason() {
    let (mut host, log) = (host(), Log::default());
    start(&mut host, &log, "store", Duration::ZERO, S).await;
    let error = host
        .start("edge", OnEnd::Continue, |_ready, _| async { Err("port 80 is taken".into()) })
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "edge could not start");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "port 80 is taken");
    let report = host.run().await;
    assert_eq!(report.cause, Cause::Start("edge".to_owned()));
    assert_eq!(log.take(), ["store ready", "store drains", "store ends"]);
}

#[tokio::test(start_paused = true)]
async fn whatever_else_a_task_does_in_place_of_being_ready_is_said() {
    async fn why<Fut>(make: impl FnOnce(Ready, Shutdown) -> Fut) -> String
    where
        Fut: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        let mut host = host();
        let error = host.start("edge", OnEnd::Shutdown, make).await.unwrap_err();
        let report = host.run().await;
        assert_eq!(report.cause, Cause::Start("edge".to_owned()));
        error.to_string()
    }
    assert_eq!(why(|_ready, _| async { Ok(()) }).await, "edge was never ready: it finished");
    assert_eq!(why(|_ready, _| async { panic!("oh") }).await, "edge was never ready: it panicked: oh");
    let drops = |ready: Ready, shutdown: Shutdown| async move {
        drop(ready);
        shutdown.drain().await;
        Ok(())
    };
    assert_eq!(why(drops).await, "edge was never ready: it goes on without it");
    let hangs = |ready: Ready, shutdown: Shutdown| async move {
        shutdown.drain().await;
        drop(ready);
        Ok(())
    };
    assert_eq!(why(hangs).await, "edge was never ready: it took longer than 10s");
}

#[tokio::test(start_paused = true)]
async fn a_signal_during_the_start_interrupts_it() {
    let (mut host, log) = (host(), Log::default());
    start(&mut host, &log, "store", Duration::ZERO, S).await;
    let trigger = host.trigger();
    let task = |ready: Ready, shutdown: Shutdown| async move {
        trigger.signal();
        shutdown.drain().await;
        drop(ready);
        Ok(())
    };
    let error = host.start("edge", OnEnd::Shutdown, task).await.unwrap_err();
    assert!(matches!(error, StartError::Interrupted { .. }), "{error}");
    assert!(host.run().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_while_another_starts_interrupts_the_start() {
    let mut host = host();
    let short = |ready: Ready, _| async move {
        ready.ready();
        sleep(S).await;
        Ok(())
    };
    host.start("store", OnEnd::Shutdown, short).await.unwrap();
    let slow = |ready: Ready, shutdown: Shutdown| async move {
        sleep(5 * S).await;
        ready.ready();
        shutdown.drain().await;
        Ok(())
    };
    let begun = Instant::now();
    let error = host.start("edge", OnEnd::Shutdown, slow).await.unwrap_err();
    assert!(matches!(error, StartError::Interrupted { .. }), "{error}");
    assert_eq!(begun.elapsed(), S, "what it needs is gone; there is nothing to wait for");
    let late = host.start("late", OnEnd::Shutdown, |_, _| async { panic!("not to be started") }).await;
    assert!(matches!(late, Err(StartError::Interrupted { .. })));
    let report = host.run().await;
    assert_eq!(report.cause, Cause::Task("store".to_owned()));
    assert_eq!(how(&report, "late"), "still there");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_draining_holds_for_all_of_them_together() {
    let (mut host, log) = (host(), Log::default());
    start(&mut host, &log, "store", Duration::ZERO, S).await;
    start(&mut host, &log, "registry", Duration::ZERO, 15 * S).await;
    start(&mut host, &log, "edge", Duration::ZERO, 15 * S).await;
    host.trigger().signal();
    let begun = Instant::now();
    let report = host.run().await;
    assert_eq!(begun.elapsed(), 20 * S);
    assert_eq!(how(&report, "edge"), "finished");
    assert_eq!(how(&report, "registry"), "was stopped before it had finished");
    assert_eq!(how(&report, "store"), "was stopped before it had finished");
    assert_eq!((report.cause.clone(), report.is_clean()), (Cause::Asked, false));
}

#[tokio::test(start_paused = true)]
async fn the_second_signal_aborts() {
    let (mut host, log) = (host(), Log::default());
    start(&mut host, &log, "edge", Duration::ZERO, 15 * S).await;
    let trigger = host.trigger();
    let begun = Instant::now();
    let asks = async {
        trigger.signal();
        sleep(3 * S).await;
        trigger.signal();
    };
    let (report, ()) = tokio::join!(host.run(), asks);
    assert_eq!(begun.elapsed(), 3 * S);
    assert_eq!(how(&report, "edge"), "was stopped before it had finished");
}

#[tokio::test]
async fn threads_are_joined_and_their_panics_named() {
    let (mut host, log) = (host(), Log::default());
    let at_end = log.clone();
    let work = move |ready: Ready, shutdown: Shutdown| {
        ready.ready();
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(shutdown.drain());
        at_end.say(format!("{} ends", std::thread::current().name().unwrap_or_default()));
        Ok(())
    };
    host.start_thread("core-0", OnEnd::Shutdown, work).await.unwrap();
    let (go, gone) = mpsc::channel::<()>();
    let panics = move |ready: Ready, _| {
        ready.ready();
        gone.recv()?;
        panic!("core 1 broke")
    };
    host.start_thread("core-1", OnEnd::Shutdown, panics).await.unwrap();
    go.send(()).unwrap();
    let report = host.run().await;
    assert_eq!(how(&report, "core-1"), "panicked: core 1 broke");
    assert_eq!(how(&report, "core-0"), "finished");
    assert_eq!(log.take(), ["core-0 ends"]);
}

#[tokio::test]
async fn a_thread_that_does_not_stop_is_named() {
    let mut host = Host::new(Options { drain: S / 100, abort: S / 100, ..Options::default() });
    let (release, held) = mpsc::channel::<()>();
    let work = move |ready: Ready, _| {
        ready.ready();
        let _ = held.recv();
        Ok(())
    };
    host.start_thread("core-0", OnEnd::Shutdown, work).await.unwrap();
    host.trigger().signal();
    let report = host.run().await;
    assert_eq!(how(&report, "core-0"), "did not stop");
    drop(release);
}

#[tokio::test]
async fn signals_of_the_process_ask_for_the_shutdown() {
    let (mut host, log) = (host(), Log::default());
    let trigger = host.trigger();
    let signals = |ready: Ready, shutdown: Shutdown| async move {
        let forward = trigger.forward_signals()?;
        ready.ready();
        tokio::select! { () = forward => {}, () = shutdown.drain() => {} }
        Ok(())
    };
    host.start("signals", OnEnd::Shutdown, signals).await.unwrap();
    start(&mut host, &log, "edge", Duration::ZERO, Duration::ZERO).await;
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).unwrap();
    let report = host.run().await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(log.take(), ["edge ready", "edge drains", "edge ends"]);
}
