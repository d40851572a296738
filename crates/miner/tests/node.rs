//! A pool that follows a node, with nodes that answer in every way that HTTP has, and worse. A
//! "node" here is a thread that gives prepared answers.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use zcn::{Runtime, TcpListener};
use zcn_miner::pool::node::{Followed, Node, NodeError, NodeLogin, follow};
use zcn_miner::pool::{PoolServer, PoolSettings};

/// How long anything may take before a test counts as hung.
const HANG: Duration = Duration::from_secs(60);

/// Runs a task; fails when it hangs.
fn on_runtime(test: impl AsyncFnOnce()) {
    let mut runtime = Runtime::new().expect("a runtime");
    let done = runtime.block_on(async { zcn::timeout(HANG, test()).await });
    done.expect("no error").expect("no hang");
}

/// A call that a fake node was sent: what was asked, and where the answer goes to.
struct Call {
    head: String,
    body: String,
    answer: StdStream,
}

impl Call {
    fn read(mut answer: StdStream) -> Option<Self> {
        let mut bytes = Vec::new();
        loop {
            let mut some = [0; 1024];
            let count = answer.read(&mut some).ok()?;
            if count == 0 {
                return None;
            }
            bytes.extend_from_slice(&some[..count]);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_lowercase()
                        .strip_prefix("content-length: ")?
                        .parse()
                        .ok()
                })
                .unwrap_or(0);
            if body.len() >= length {
                let (head, body) = (head.to_owned(), body.to_owned());
                return Some(Self { head, body, answer });
            }
        }
    }

    fn is(&self, what: &str) -> bool {
        self.body.contains(what)
    }

    fn send(mut self, raw: &str) {
        // A caller who gave up does not matter to a node.
        let _ = self.answer.write_all(raw.as_bytes());
    }

    /// A result, in two chunks of HTTP.
    fn succeed(self, result: &str) {
        let (one, two) = (
            "{\"error\":null,\"id\":1,\"result\":",
            format!("{result}}}\n"),
        );
        self.send(&format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
             {:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
            one.len(),
            two.len()
        ));
    }

    fn fail(self, code: i64) {
        let body = format!("{{\"result\":null,\"error\":{{\"code\":{code},\"message\":\"no\"}}}}");
        self.send(&format!(
            "HTTP/1.1 500 Internal Server Error\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }
}

/// A node that hands its calls to `behave`, one after the other.
fn node(mut behave: impl FnMut(Call) + Send + 'static) -> SocketAddr {
    let listener = StdListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            if let Some(call) = Call::read(stream) {
                behave(call);
            }
        }
    });
    address
}

fn client(address: SocketAddr) -> Node {
    let login = NodeLogin::Password {
        user: "u".to_owned(),
        password: "p".to_owned(),
    };
    Node::new(&format!("http://{address}"), login).expect("a URL")
}

/// A template at a height; `rest` are more fields.
fn template(height: u32, prev: u8, rest: &str) -> String {
    format!(
        r#"{{"version":536870912,"previousblockhash":"{}","transactions":[],
        "coinbasevalue":5000000000,"curtime":1700000000,"bits":"207fffff","height":{height}{rest}}}"#,
        format!("{prev:02x}").repeat(32)
    )
}

#[test]
fn calls_are_signed_and_answers_in_chunks_are_read() {
    let (heads, seen) = mpsc::channel();
    let address = node(move |call| {
        heads.send(call.head.clone()).expect("the test runs");
        call.succeed(&template(7, 0xab, ""));
    });
    on_runtime(async || {
        let next = client(address).template(&[0x51]).await.expect("a template");
        assert_eq!(next.template.height, 7);
        assert_eq!(next.template.prev_hash, [0xab; 32]);
        assert_eq!(next.long_poll_id, None);
    });
    let head = seen.recv().expect("a call").to_lowercase();
    assert!(head.starts_with("post / http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: basic dtpw"), "{head}");
    assert!(head.contains(&format!("host: {address}")), "{head}");
}

#[test]
fn every_wrong_answer_is_an_error_that_says_which() {
    let answers = [
        (
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
            "refuses the user",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
            "refuses the user",
        ),
        (
            "HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nqueue",
            "HTTP 503",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "HTTP 200"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{]",
            "getblocktemplate",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            "result in the node's",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"result\":[]}",
            "answer to",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "no HTTP"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "no HTTP"),
        ("", "no HTTP"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "no HTTP",
        ),
    ];
    let mut left = answers.into_iter();
    let address = node(move |call| call.send(left.next().expect("asked as often").0));
    on_runtime(async || {
        let node = client(address);
        for (answer, words) in answers {
            let error = node.template(&[]).await.expect_err(answer);
            let text = error.to_string();
            assert!(text.contains(words), "{text} to {answer:?}");
            assert!(!matches!(error, NodeError::Timeout(_)), "{answer:?}");
        }
    });
}

#[test]
fn an_answer_without_end_is_given_up() {
    let address = node(|mut call| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{";
        let _ = call.answer.write_all(head);
        let spaces = vec![b' '; 1 << 20];
        while call.answer.write_all(&spaces).is_ok() {}
    });
    on_runtime(async || {
        let error = client(address).best_block().await.expect_err("too long");
        assert!(matches!(error, NodeError::TooLong { .. }), "{error}");
    });
}

#[test]
fn a_block_is_handed_in_again_until_the_node_answers() {
    let (blocks, seen) = mpsc::channel();
    let mut calls = 0;
    let address = node(move |call| {
        assert!(call.is("\"submitblock\""));
        blocks.send(call.is("[\"00ff\"]")).expect("the test runs");
        calls += 1;
        match calls {
            // Hangs up: nobody knows whether the block has arrived.
            1 => drop(call),
            2 => call.fail(-28),
            // It had.
            3 => call.succeed("\"duplicate\""),
            4 => call.succeed("\"high-hash\""),
            5 => call.succeed("\"duplicate\""),
            _ => call.fail(-22),
        }
    });
    on_runtime(async || {
        let node = client(address);
        let block = [0, 0xff];
        assert_eq!(node.submit(&block).await.expect("an answer"), None);
        let word = node.submit(&block).await.expect("an answer");
        assert_eq!(word.as_deref(), Some("high-hash"));
        let word = node.submit(&block).await.expect("an answer");
        assert_eq!(word.as_deref(), Some("duplicate"), "nobody of ours");
        let error = node.submit(&block).await.expect_err("not readable");
        assert!(
            matches!(error, NodeError::Call { code: -22, .. }),
            "{error}"
        );
    });
    assert!(seen.try_iter().all(|whole| whole));
}

#[test]
fn a_cookie_is_read_at_each_call() {
    let path: PathBuf = std::env::temp_dir().join(format!("zcn-cookie-{}", std::process::id()));
    let (heads, seen) = mpsc::channel();
    let address = node(move |call| {
        heads.send(call.head.clone()).expect("the test runs");
        call.succeed("null");
    });
    let file = path.clone();
    on_runtime(async || {
        let login = NodeLogin::CookieFile(file.clone());
        let node = Node::new(&format!("http://{address}"), login).expect("a URL");
        let error = node.submit(&[]).await.expect_err("no file");
        assert!(matches!(error, NodeError::Cookie { .. }), "{error}");
        for login in ["u:p\n", "u:q"] {
            std::fs::write(&file, login).expect("a file");
            assert_eq!(node.submit(&[]).await.expect("an answer"), None);
        }
    });
    std::fs::remove_file(&path).expect("it is there");
    let heads: Vec<String> = seen.try_iter().map(|head| head.to_lowercase()).collect();
    assert_eq!(heads.len(), 2);
    assert!(heads[0].contains("basic dtpw"), "{heads:?}");
    assert!(heads[1].contains("basic dtpx"), "{heads:?}");
}

#[test]
fn addresses_are_the_nodes_business() {
    let address = node(|call| {
        if call.is("[\"good\"]") {
            call.succeed(r#"{"isvalid":true,"scriptPubKey":"76a9"}"#);
        } else {
            call.succeed(r#"{"isvalid":false}"#);
        }
    });
    on_runtime(async || {
        let node = client(address);
        assert_eq!(
            node.script_of("good").await.expect("a script"),
            [0x76, 0xa9]
        );
        let error = node.script_of("bad").await.expect_err("no address");
        assert!(matches!(error, NodeError::Address(_)), "{error}");
    });
}

/// What a pool that follows a node was told: heights and whether the block was new, or trouble.
type Told = Rc<RefCell<Vec<Option<(u32, bool)>>>>;

/// A pool that follows the node at `address` in a task.
fn following(address: SocketAddr, refresh: Duration) -> Told {
    let listener = TcpListener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let server = PoolServer::start(listener, PoolSettings::default(), |_| {});
    let told = Told::default();
    let log = told.clone();
    zcn::spawn(async move {
        let sink = |what: Followed<'_>| {
            log.borrow_mut().push(match what {
                Followed::Template {
                    template,
                    new_block,
                    ..
                } => Some((template.height, new_block)),
                _ => None,
            });
        };
        let node = client(address);
        let Err(error) = follow(&node, &[0x51], refresh, &server, &sink).await;
        panic!("given up: {error}");
    });
    told
}

async fn until(told: &Told, count: usize) -> Vec<Option<(u32, bool)>> {
    while told.borrow().len() < count {
        zcn::sleep(Duration::from_millis(2)).await;
    }
    told.borrow().clone()
}

#[test]
fn a_long_poll_brings_blocks_and_survives_the_node() {
    let (polls, polled): (Sender<Call>, Receiver<Call>) = mpsc::channel();
    let mut first = true;
    let address = node(move |call| {
        if call.is("longpollid") {
            polls.send(call).expect("the test runs");
        } else if std::mem::take(&mut first) {
            call.succeed(&template(1, 1, r#","longpollid":"one""#));
        } else {
            // Started again: it knows other names now.
            call.succeed(&template(3, 3, r#","longpollid":"three""#));
        }
    });
    // The long polls are answered in turn.
    thread::spawn(move || {
        let call = polled.recv().expect("a long poll");
        assert!(call.is("\"longpollid\":\"one\""), "{}", call.body);
        call.succeed(&template(2, 2, r#","longpollid":"two""#));
        let call = polled.recv().expect("a long poll");
        assert!(call.is("\"longpollid\":\"two\""), "{}", call.body);
        // The same block with more transactions.
        call.succeed(&template(2, 2, r#","longpollid":"two""#));
        drop(polled.recv().expect("a long poll"));
        let call = polled.recv().expect("a long poll");
        assert!(call.is("\"longpollid\":\"three\""), "{}", call.body);
        call.succeed(&template(4, 4, r#","longpollid":"four""#));
        // Held until the test is over.
        let _last = polled.recv();
        let _ = polled.recv();
    });
    on_runtime(async || {
        let told = following(address, Duration::ZERO);
        let all = until(&told, 6).await;
        let (one, two, more) = (Some((1, true)), Some((2, true)), Some((2, false)));
        assert_eq!(
            all,
            [one, two, more, None, Some((3, true)), Some((4, true))]
        );
    });
}

#[test]
fn without_long_polls_the_best_block_is_asked_for() {
    let mut asked = 0;
    let mut templates = 0;
    let address = node(move |call| {
        if call.is("getbestblockhash") {
            asked += 1;
            let best = if asked < 2 { "01" } else { "02" };
            call.succeed(&format!("\"{}\"", best.repeat(32)));
        } else {
            templates += 1;
            call.succeed(&template(templates, templates as u8, ""));
        }
    });
    on_runtime(async || {
        let told = following(address, Duration::ZERO);
        let all = until(&told, 2).await;
        assert_eq!(all[..2], [Some((1, true)), Some((2, true))]);
    });
}

#[test]
fn the_template_of_the_moment_is_renewed() {
    let (polls, polled): (Sender<Call>, Receiver<Call>) = mpsc::channel();
    let address = node(move |call| {
        if call.is("longpollid") {
            polls.send(call).expect("the test runs");
        } else {
            call.succeed(&template(1, 1, r#","longpollid":"one""#));
        }
    });
    on_runtime(async || {
        let told = following(address, Duration::from_millis(5));
        let all = until(&told, 4).await;
        assert_eq!(all[..2], [Some((1, true)), Some((1, false))]);
    });
    // One long poll, never given up for the others: a node has few threads.
    assert_eq!(polled.try_iter().count(), 1);
}

#[test]
fn a_node_that_is_not_ready_is_waited_for_and_one_that_refuses_is_not() {
    let mut calls = 0;
    let address = node(move |call| {
        calls += 1;
        match calls {
            1 => call.fail(-28),
            2 => call.fail(-10),
            _ => call.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"),
        }
    });
    on_runtime(async || {
        let listener = TcpListener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let server = PoolServer::start(listener, PoolSettings::default(), |_| {});
        let troubles = RefCell::new(0);
        let sink = |what: Followed<'_>| {
            assert!(matches!(what, Followed::Trouble(_)));
            *troubles.borrow_mut() += 1;
        };
        let node = client(address);
        let Err(error) = follow(&node, &[], Duration::ZERO, &server, &sink).await;
        assert!(
            matches!(error, NodeError::Refused { status: 401 }),
            "{error}"
        );
        assert_eq!(*troubles.borrow(), 2);
    });
}
