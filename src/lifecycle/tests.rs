use std::convert::Infallible;

use tokio::sync::{mpsc, oneshot};

use super::*;

const UNHURRIED: Drain = Drain { notice: Duration::ZERO, grace: Duration::from_mins(1) };

struct Process {
    tasks: Tasks,
    readiness: Readiness,
    signal: mpsc::Sender<&'static str>,
    stop: Signals,
}

impl Process {
    /// A ready process with one well-behaved task.
    fn start() -> Self {
        let tasks = Tasks::new();
        let (readiness, starting) = Readiness::new("starting");
        let (signal, stop) = Signals::channel();
        drop(starting);
        tasks.spawn("polite", until(tasks.shutdown()));
        Self { tasks, readiness, signal, stop }
    }

    async fn run(&mut self, drain: Drain) -> Result<(), Failure> {
        self.tasks.run(&mut self.stop, &self.readiness, drain).await
    }
}

fn until(token: &CancellationToken) -> impl Future<Output = Result<(), Infallible>> + use<> {
    let token = token.clone();
    async move {
        token.cancelled().await;
        Ok(())
    }
}

async fn forever() -> Result<(), Infallible> {
    std::future::pending().await
}

#[tokio::test]
async fn a_signal_drains_and_all_is_well() {
    let mut process = Process::start();
    assert!(process.readiness.is_ready());
    process.signal.send("SIGTERM").await.expect("received");
    assert_eq!(process.run(UNHURRIED).await, Ok(()));
    assert_eq!(process.readiness.why_not(), ["draining"]);
    assert!(process.tasks.shutdown().is_cancelled());
}

#[tokio::test]
async fn a_cancelled_shutdown_stops_as_a_signal_does() {
    let mut process = Process::start();
    process.tasks.shutdown().cancel();
    assert_eq!(process.run(UNHURRIED).await, Ok(()));
}

#[tokio::test]
async fn what_ends_early_ends_the_process() {
    type Start = fn(&Tasks);
    fn explode() -> Result<(), Infallible> {
        panic!("told so")
    }
    let cases: [(Start, &str); 7] = [
        (|t| t.spawn("t", async { Ok::<(), Infallible>(()) }), "t ended before it was asked to"),
        (|t| t.spawn("t", async { Err("broken") }), "t failed: broken"),
        (|t| t.spawn("t", async { explode() }), "t panicked"),
        (|t| drop(t.watch("t")), "t ended before it was asked to"),
        (|t| t.spawn_thread("t", || Err("broken")).expect("spawns"), "t failed: broken"),
        (
            |t| t.spawn_thread("t", || Ok::<(), Infallible>(())).expect("spawns"),
            "t ended before it was asked to",
        ),
        (|t| t.spawn_thread("t", explode).expect("spawns"), "t panicked"),
    ];
    for (start, expected) in cases {
        let mut process = Process::start();
        start(&process.tasks);
        let failure = process.run(UNHURRIED).await.expect_err(expected);
        assert_eq!(failure.to_string(), expected);
        assert!(process.tasks.shutdown().is_cancelled(), "{expected}");
        assert!(!process.readiness.is_ready(), "{expected}");
    }
}

#[tokio::test]
async fn an_error_while_draining_is_an_error_of_the_process() {
    let mut process = Process::start();
    let token = process.tasks.shutdown().clone();
    process.tasks.spawn("flush", async move {
        token.cancelled().await;
        Err("disk full")
    });
    process.signal.send("SIGTERM").await.expect("received");
    let failure = process.run(UNHURRIED).await.expect_err("the flush failed");
    assert_eq!(failure, Failure::Failed { task: "flush", error: "disk full".into() });
}

#[test]
fn the_sources_of_an_error_are_told() {
    #[derive(Debug)]
    struct Outer(io::Error);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("transport error")
        }
    }
    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }
    let outer = Outer(io::Error::other("address in use"));
    assert_eq!(in_one_line(&outer), "transport error: address in use");
}

#[tokio::test]
async fn at_the_deadline_the_rest_is_aborted_and_named() {
    let mut process = Process::start();
    let (dropped, aborted) = oneshot::channel::<()>();
    process.tasks.spawn("stuck", async move {
        let _dropped = dropped;
        forever().await
    });
    let _thread = process.tasks.watch("stuck thread");
    process.signal.send("SIGINT").await.expect("received");
    let drain = Drain { notice: Duration::ZERO, grace: Duration::from_millis(20) };
    let failure = process.run(drain).await.expect_err("they do not end");
    assert_eq!(failure.to_string(), "aborted at the deadline, still at work: stuck, stuck thread");
    aborted.await.expect_err("the task is dropped, so that its sender is");
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_does_not_wait() {
    let hours = Duration::from_hours(1);
    for drain in
        [Drain { notice: Duration::ZERO, grace: hours }, Drain { notice: hours, grace: hours }]
    {
        let mut process = Process::start();
        process.tasks.spawn("stuck", forever());
        let signal = process.signal.clone();
        let twice = async {
            signal.send("SIGTERM").await.expect("received");
            // One keystroke, passed on to us as well.
            signal.send("SIGINT").await.expect("received");
            tokio::time::sleep(TOGETHER).await;
            signal.send("SIGTERM").await.expect("received");
        };
        let (result, ()) = tokio::join!(process.run(drain), twice);
        let failure = result.expect_err("cut short");
        let Failure::Aborted { tasks, cause } = failure else { panic!("{failure}") };
        assert!(tasks.contains(&"stuck"), "{tasks:?}");
        assert_eq!(cause, Abort::SecondSignal);
    }
}

#[tokio::test]
async fn requests_are_still_served_between_the_notice_and_the_end() {
    let mut process = Process::start();
    let shutdown = process.tasks.shutdown().clone();
    let mut readiness = process.readiness.subscribe();
    process.signal.send("SIGTERM").await.expect("received");
    let drain = Drain { notice: Duration::from_millis(20), grace: Duration::from_mins(1) };
    let seen = async {
        readiness.changed().await.expect("the process lives");
        assert!(!shutdown.is_cancelled(), "first the notice, then the end");
    };
    let (result, ()) = tokio::join!(process.run(drain), seen);
    assert_eq!(result, Ok(()));
}

#[tokio::test]
async fn a_failure_during_the_notice_ends_the_notice() {
    let mut process = Process::start();
    let mut readiness = process.readiness.subscribe();
    process.tasks.spawn("fragile", async move {
        readiness.changed().await?;
        Err::<(), Box<dyn Error + Send + Sync>>("broken".into())
    });
    process.signal.send("SIGTERM").await.expect("received");
    let drain = Drain { notice: Duration::from_hours(1), grace: Duration::from_hours(1) };
    let failure = process.run(drain).await.expect_err("it failed");
    assert_eq!(failure.to_string(), "fragile failed: broken");
}

#[tokio::test]
async fn a_hangup_is_a_reload_and_nothing_else() {
    let mut reload = Signals::reload().expect("installs the handler");
    let us = rustix::process::getpid();
    rustix::process::kill_process(us, rustix::process::Signal::HUP).expect("sent");
    assert_eq!(reload.next().await, "SIGHUP");
}
