use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Barrier;

use axum::serve::Listener as _;
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::*;
use crate::lifecycle::socket_file::Obstacle;

fn unix(path: &Path) -> Address {
    Address::Unix(path.to_owned())
}

fn any_port() -> Address {
    Address::Tcp { host: "127.0.0.1".into(), port: 0 }
}

/// What lies in a directory, so that a test sees leftovers.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .expect("the directory is there")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn leave_dead_socket(path: &Path) {
    drop(std::os::unix::net::UnixListener::bind(path).expect("binds"));
}

#[tokio::test]
async fn tcp_names_the_port_it_got_and_answers_there() {
    let mut listener = bind(&any_port(), 0o600).await.expect("binds");
    let address = listener.local_address().to_string();
    let Address::Tcp { port, .. } = listener.local_address() else { panic!("{address}") };
    assert_ne!(*port, 0);
    let (client, accepted) = tokio::join!(TcpStream::connect(&address), listener.next());
    let mut client = client.expect("connects");
    let Ok(mut connection) = accepted.expect("never ends");
    assert_eq!(connection.peer(), Peer::Tcp(client.local_addr().expect("connected")));
    client.write_all(b"ping").await.expect("writes");
    let mut read = [0; 4];
    connection.read_exact(&mut read).await.expect("reads");
    assert_eq!(&read, b"ping");
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_the_address() {
    let first = bind(&any_port(), 0o600).await.expect("binds");
    let error = bind(first.local_address(), 0o600).await.expect_err("taken");
    assert!(error.to_string().contains(&first.local_address().to_string()), "{error}");
    assert!(
        matches!(error.kind(), BindErrorKind::Io(e) if e.kind() == io::ErrorKind::AddrInUse),
        "{error}"
    );
}

#[tokio::test]
async fn a_unix_socket_has_its_mode_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("a.sock");
    for mode in [0o600, 0o660, 0o666] {
        let mut listener = bind(&unix(&path), mode).await.expect("binds");
        let metadata = fs::symlink_metadata(&path).expect("is there");
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o7777, mode);
        assert_eq!(names(directory.path()), ["a.sock"]);
        let (client, (_connection, peer)) =
            tokio::join!(UnixStream::connect(&path), listener.accept());
        client.expect("connects");
        assert_eq!(peer, Peer::Unix);
        drop(listener);
        assert_eq!(names(directory.path()), [""; 0]);
    }
}

#[tokio::test]
async fn a_dead_socket_is_replaced() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("a.sock");
    leave_dead_socket(&path);
    let _listener = bind(&unix(&path), 0o600).await.expect("replaces it");
    UnixStream::connect(&path).await.expect("answers");
    assert_eq!(names(directory.path()), ["a.sock"]);
}

#[tokio::test]
async fn what_is_not_our_dead_socket_stays_as_it_is() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let at = |name: &str| directory.path().join(name);
    fs::write(at("file"), "precious").expect("writes");
    fs::create_dir(at("directory")).expect("creates");
    leave_dead_socket(&at("dead"));
    symlink(at("dead"), at("symlink")).expect("links");
    let _live = std::os::unix::net::UnixListener::bind(at("live")).expect("binds");
    let _datagram = std::os::unix::net::UnixDatagram::bind(at("datagram")).expect("binds");
    let before = names(directory.path());
    for (name, expected) in [
        ("file", Obstacle::NotASocket),
        ("directory", Obstacle::NotASocket),
        ("symlink", Obstacle::NotASocket),
        ("live", Obstacle::InUse),
        ("datagram", Obstacle::InUse),
    ] {
        let inode = fs::symlink_metadata(at(name)).expect("is there").ino();
        let error = bind(&unix(&at(name)), 0o600).await.expect_err(name);
        let BindErrorKind::File(obstacle) = error.kind() else { panic!("{name}: {error}") };
        assert_eq!(obstacle.to_string(), expected.to_string(), "{name}");
        assert_eq!(fs::symlink_metadata(at(name)).expect("still there").ino(), inode, "{name}");
    }
    assert_eq!(fs::read_to_string(at("file")).expect("reads"), "precious");
    assert_eq!(names(directory.path()), before);
}

#[tokio::test]
async fn a_live_socket_whose_queue_is_full_is_in_use() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("a.sock");
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        None,
    )
    .expect("creates");
    let address = rustix::net::SocketAddrUnix::new(&path).expect("fits");
    rustix::net::bind(&socket, &address).expect("binds");
    rustix::net::listen(&socket, 0).expect("listens");
    let mut queued = Vec::new();
    while let Ok(client) = UnixStream::connect(&path).await {
        queued.push(client);
        assert!(queued.len() < 10_000, "the queue never fills");
    }
    let error = bind(&unix(&path), 0o600).await.expect_err("somebody lives there");
    assert!(matches!(error.kind(), BindErrorKind::File(Obstacle::InUse)), "{error}");
}

#[tokio::test]
async fn a_successors_socket_is_not_removed() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("a.sock");
    let ours = bind(&unix(&path), 0o600).await.expect("binds");
    fs::remove_file(&path).expect("removes");
    let _successor = bind(&unix(&path), 0o600).await.expect("binds");
    drop(ours);
    UnixStream::connect(&path).await.expect("the successor answers");
}

#[tokio::test]
async fn a_path_that_cannot_fit_says_how_long_it_may_be() {
    let directory = tempfile::tempdir().expect("temporary directory");
    for name_length in [1, 5, 14, 40] {
        let short = directory.path().join("x".repeat(name_length));
        // The length is filled up with slashes, which mean nothing to the system.
        let long = |total: usize| {
            let missing = total - short.as_os_str().len();
            let text = format!("{}{}", "/".repeat(missing), short.display());
            Path::new(&text).to_owned()
        };
        let error = bind(&unix(&long(108)), 0o600).await.expect_err("too long");
        let BindErrorKind::File(Obstacle::PathTooLong(limit)) = *error.kind() else {
            panic!("{error}")
        };
        assert!(error.to_string().contains(&limit.to_string()), "{error}");
        let listener = bind(&unix(&long(limit)), 0o600).await.expect("the limit itself fits");
        drop(listener);
        bind(&unix(&long(limit + 1)), 0o600).await.expect_err("one more does not");
    }
    assert_eq!(names(directory.path()), [""; 0]);
}

#[test]
fn of_many_that_replace_one_dead_socket_exactly_one_wins() {
    const THREADS: usize = 8;
    for _round in 0..200 {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("a.sock");
        leave_dead_socket(&path);
        let start = Barrier::new(THREADS);
        let done = Barrier::new(THREADS);
        let race = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                start.wait();
                let bound = bind(&unix(&path), 0o600).await;
                done.wait();
                let answers = UnixStream::connect(&path).await.is_ok();
                // Nobody gives up the path before all have seen it.
                done.wait();
                assert!(answers, "there is a winner, and its socket is the one at the path");
                bound.is_ok()
            })
        };
        let winners = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(race)).collect();
            threads.into_iter().map(|t| t.join().expect("no panic")).filter(|&won| won).count()
        });
        assert_eq!(winners, 1);
        assert_eq!(names(directory.path()), [""; 0]);
    }
}

#[tokio::test]
async fn a_failing_accept_is_tried_again_after_a_pause() {
    let mut script = vec![
        Ok("second"),
        Err(io::ErrorKind::ConnectionAborted),
        Err(io::ErrorKind::OutOfMemory),
        Ok("first"),
        Err(io::ErrorKind::Other),
        Err(io::ErrorKind::Other),
    ];
    let address = any_port();
    let mut pause = Pause::new(Duration::from_millis(1));
    let mut waits = 0;
    for expected in ["first", "second"] {
        let got = poll_fn(|cx| {
            let polled = pause.poll_until_ok(cx, &address, |_| {
                let next = script.pop().expect("no attempt after the last success");
                Poll::Ready(next.map_err(io::Error::from))
            });
            waits += usize::from(polled.is_pending());
            polled
        });
        assert_eq!(got.await, expected);
    }
    assert!(waits >= 3, "each shortage waits, {waits} did");
}

#[tokio::test]
async fn axum_and_tonic_serve_on_it() {
    let listener = bind(&any_port(), 0o600).await.expect("binds");
    let address = listener.local_address().to_string();
    let routes = axum::Router::new().route("/", axum::routing::get(|| async { "hello" }));
    let client = async {
        let mut stream = TcpStream::connect(&address).await.expect("connects");
        let request = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.expect("writes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("reads");
        answer
    };
    let server = axum::serve(listener, routes);
    let answer = tokio::select! {
        answer = client => answer,
        ended = server.into_future() => panic!("the server ended: {ended:?}"),
    };
    assert!(answer.ends_with("hello"), "{answer}");

    let listener = bind(&any_port(), 0o600).await.expect("binds");
    let address = listener.local_address().to_string();
    let (_reporter, health) = tonic_health::server::health_reporter();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tonic::transport::Server::builder()
        .add_service(health)
        .serve_with_incoming_shutdown(listener, async { stopped.await.expect("is told to stop") });
    let client = async {
        let channel = tonic::transport::Channel::from_shared(format!("http://{address}"))
            .expect("an address")
            .connect()
            .await
            .expect("connects");
        let answer = tonic_health::pb::health_client::HealthClient::new(channel)
            .check(tonic_health::pb::HealthCheckRequest { service: String::new() })
            .await;
        stop.send(()).expect("the server lives");
        answer.expect("is healthy").into_inner().status
    };
    let (ended, status) = tokio::join!(server, client);
    ended.expect("ends well");
    assert_eq!(status, 1);
}
