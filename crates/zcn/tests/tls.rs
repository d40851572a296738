//! TLS over TCP streams: against itself, against openssl, and against those who mean no good.

mod common;

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use common::{any, on_both, on_both_reactors, pattern, skipped};
use zcn::tls::{Fingerprint, TlsAcceptor, TlsConnector, TlsStream};
use zcn::{TcpListener, TcpStream};

/// A certificate that signed itself, for `localhost`, and its key.
struct Identity {
    certificate: String,
    key: String,
    fingerprint: Fingerprint,
}

fn identity() -> Identity {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    Identity {
        certificate: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
        fingerprint: Fingerprint::of(made.cert.der()),
    }
}

impl Identity {
    fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from_pem(self.certificate.as_bytes(), self.key.as_bytes()).unwrap()
    }

    fn connector(&self) -> TlsConnector {
        TlsConnector::with_roots(self.certificate.as_bytes()).unwrap()
    }
}

/// A server that sends everything back, then says goodbye; failed handshakes are its peers' loss.
fn echo(acceptor: TlsAcceptor) -> SocketAddr {
    let listener = TcpListener::bind(any()).unwrap();
    let address = listener.local_addr();
    zcn::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            zcn::spawn(async move {
                let stream = acceptor.accept(stream).await?;
                while let Some(buf) = stream.recv().await? {
                    stream.send_copy(&buf).await?;
                }
                stream.shutdown().await
            });
        }
    });
    address
}

async fn connect(connector: &TlsConnector, name: &str, to: SocketAddr) -> zcn::Result<TlsStream> {
    connector.connect(name, TcpStream::connect(to).await?).await
}

#[test]
fn what_is_sent_comes_back() {
    on_both(async |_| {
        let identity = identity();
        let server = echo(identity.acceptor());
        let stream = connect(&identity.connector(), "localhost", server)
            .await
            .unwrap();
        assert_eq!(stream.peer_fingerprint(), Some(identity.fingerprint));
        for len in [1, 100, 20_000] {
            let sent = pattern(len, len);
            stream.send_copy(&sent).await.unwrap();
            let mut received = vec![0; len];
            stream.read_exact(&mut received).await.unwrap();
            assert_eq!(received, sent);
        }
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        assert!(stream.send_copy(b"late").await.is_err());
    });
}

#[test]
fn both_directions_are_full_at_once() {
    on_both(async |_| {
        const LEN: usize = 4 << 20;
        let identity = identity();
        let server = echo(identity.acceptor());
        let stream = connect(&identity.connector(), "localhost", server)
            .await
            .unwrap();
        let stream = Rc::new(stream);
        let sender = stream.clone();
        let sending = zcn::spawn(async move {
            for piece in pattern(LEN, 1).chunks(70_001) {
                sender.send_copy(piece).await?;
            }
            sender.shutdown().await
        });
        let mut received = Vec::new();
        while let Some(buf) = stream.recv().await.unwrap() {
            received.extend_from_slice(&buf);
        }
        sending.await.unwrap().unwrap();
        assert!(received == pattern(LEN, 1), "{} bytes", received.len());
    });
}

#[test]
fn servers_that_are_not_who_they_should_be_are_refused() {
    on_both(async |_| {
        let (identity, other) = (identity(), identity());
        let server = echo(identity.acceptor());
        let refusal = async |connector: &TlsConnector, name| {
            let error = connect(connector, name, server).await.expect_err(name);
            error.to_string()
        };
        let text = refusal(&other.connector(), "localhost").await;
        assert!(
            text.starts_with("cannot speak TLS with localhost"),
            "{text}"
        );
        let text = refusal(&identity.connector(), "pool.example").await;
        assert!(text.contains("connect by that"), "{text}");
        let pin = TlsConnector::pinned([other.fingerprint]).unwrap();
        let text = refusal(&pin, "localhost").await;
        assert!(text.contains(&identity.fingerprint.to_string()), "{text}");
        let text = refusal(&identity.connector(), "not a name").await;
        assert!(text.contains("not a name"), "{text}");
        match TlsConnector::system() {
            Ok(connector) => {
                let text = refusal(&connector, "localhost").await;
                assert!(text.contains("pin its fingerprint"), "{text}");
            }
            Err(error) => skipped(error),
        }
    });
}

#[test]
fn a_pinned_certificate_is_taken_under_any_name() {
    on_both(async |_| {
        let (identity, other) = (identity(), identity());
        let server = echo(identity.acceptor());
        let pins = [other.fingerprint, identity.fingerprint];
        let connector = TlsConnector::pinned(pins).unwrap();
        for name in ["localhost", "pool.example", "192.0.2.1"] {
            let stream = connect(&connector, name, server).await.unwrap();
            stream.send_copy(b"ping").await.unwrap();
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"ping");
        }
    });
}

#[test]
fn an_end_without_goodbye_is_an_error_and_one_with_it_is_not() {
    on_both(async |_| {
        let identity = identity();
        let listener = TcpListener::bind(any()).unwrap();
        let server = listener.local_addr();
        let acceptor = identity.acceptor();
        let accepting = zcn::spawn(async move {
            let (cut, _) = listener.accept().await.unwrap();
            let cut = acceptor.accept(cut).await.unwrap();
            cut.send_copy(b"all of").await.unwrap();
            cut.flush().await.unwrap();
            // The stream underneath ends by itself, as if somebody on the path had ended it.
            cut.tcp().shutdown();
            let (whole, _) = listener.accept().await.unwrap();
            let whole = acceptor.accept(whole).await.unwrap();
            whole.send_copy(b"all of it").await.unwrap();
            drop(whole);
            cut
        });
        let stream = connect(&identity.connector(), "localhost", server)
            .await
            .unwrap();
        stream.read_exact(&mut [0; 6]).await.unwrap();
        let error = stream.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        let stream = connect(&identity.connector(), "localhost", server)
            .await
            .unwrap();
        stream.read_exact(&mut [0; 9]).await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        drop(accepting.await.unwrap());
    });
}

#[test]
fn whoever_does_not_speak_tls_is_told_apart() {
    on_both(async |_| {
        // A server that answers in the clear.
        let listener = TcpListener::bind(any()).unwrap();
        let plain = listener.local_addr();
        zcn::spawn(async move {
            let (stream, _) = listener.accept().await?;
            stream
                .send_copy(b"220 mail.example ESMTP, at your service\r\n")
                .await?;
            stream.recv().await.map(drop)
        });
        let identity = identity();
        let error = connect(&identity.connector(), "localhost", plain)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("does not speak TLS"), "{error}");

        // Clients that send something else, or hang up: the server goes on.
        let server = echo(identity.acceptor());
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"",
            &[0x16, 3, 1, 0xff, 0xff, 1],
        ] {
            let stream = TcpStream::connect(server).await.unwrap();
            stream.send_copy(bytes).await.unwrap();
            stream.shutdown();
            while let Ok(Some(_)) = stream.recv().await {}
        }
        let stream = connect(&identity.connector(), "localhost", server)
            .await
            .unwrap();
        stream.send_copy(b"ping").await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
    });
}

#[test]
fn settings_that_do_not_fit_are_named() {
    let (one, other) = (identity(), identity());
    let refused = |result: zcn::Result<TlsAcceptor>| result.expect_err("refused").to_string();
    let mixed = TlsAcceptor::from_pem(one.certificate.as_bytes(), other.key.as_bytes());
    assert!(refused(mixed).contains("certificate and key"));
    assert!(refused(TlsAcceptor::from_pem(one.certificate.as_bytes(), b"")).contains("the key"));
    assert!(TlsConnector::with_roots(b"").is_err());
    assert!(TlsConnector::pinned([]).is_err());
}

/// Whether there is an `openssl` to talk to.
fn openssl() -> bool {
    let there = Command::new("openssl").arg("version").output().is_ok();
    if !there {
        skipped("openssl is not installed");
    }
    there
}

/// A folder with the identity in files, gone when it is dropped.
struct Folder(std::path::PathBuf);

impl Folder {
    fn of(identity: &Identity, name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("zcn-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("certificate.pem"), &identity.certificate).unwrap();
        std::fs::write(path.join("key.pem"), &identity.key).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_client_of_openssl_is_served() {
    if !openssl() {
        return;
    }
    on_both_reactors(async |kind| {
        let identity = identity();
        let folder = Folder::of(&identity, &format!("client-{kind:?}"));
        let server = echo(identity.acceptor());
        for version in ["-tls1_2", "-tls1_3"] {
            let mut child = Command::new("openssl")
                .args([
                    "s_client",
                    "-quiet",
                    "-verify_return_error",
                    "-verify_hostname",
                    "localhost",
                ])
                .args([version, "-connect", &server.to_string(), "-CAfile"])
                .arg(folder.0.join("certificate.pem"))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut input = child.stdin.take().unwrap();
            input.write_all(b"across\n").unwrap();
            let mut output = child.stdout.take().unwrap();
            // The loop serves while another thread waits for the answer.
            let (sender, receiver) = std::sync::mpsc::channel();
            let reading = std::thread::spawn(move || {
                let mut answer = [0; 7];
                let read = std::io::Read::read_exact(&mut output, &mut answer);
                let _ = sender.send(read.map(|()| answer));
            });
            let answer = loop {
                match receiver.try_recv() {
                    Ok(answer) => break answer,
                    Err(_) => zcn::sleep(Duration::from_millis(2)).await,
                }
            };
            assert_eq!(&answer.expect(version), b"across\n", "{version}");
            drop(input);
            let _ = child.kill();
            let _ = child.wait();
            reading.join().unwrap();
        }
    });
}

#[test]
fn a_server_of_openssl_is_talked_to() {
    if !openssl() {
        return;
    }
    on_both_reactors(async |kind| {
        let identity = identity();
        let folder = Folder::of(&identity, &format!("server-{kind:?}"));
        // A port that is free now; whoever takes it between makes this test fail.
        let port = StdListener::bind(any())
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        for version in ["-tls1_2", "-tls1_3"] {
            // Sends each line back turned around.
            let mut child = Command::new("openssl")
                .args([
                    "s_server",
                    "-rev",
                    "-quiet",
                    version,
                    "-accept",
                    &port.to_string(),
                ])
                .arg("-cert")
                .arg(folder.0.join("certificate.pem"))
                .arg("-key")
                .arg(folder.0.join("key.pem"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            while StdStream::connect(address).is_err() {
                zcn::sleep(Duration::from_millis(10)).await;
            }
            let stream = connect(&identity.connector(), "localhost", address)
                .await
                .unwrap();
            stream.send_copy(b"stressed\n").await.unwrap();
            let mut answer = [0; 9];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"desserts\n", "{version}");
            let _ = child.kill();
            let _ = child.wait();
        }
    });
}
