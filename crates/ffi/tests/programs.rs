//! The library as its users have it: the examples in C, test programs in C and C++ and the Python
//! module, built against the header and the library of this build, run under valgrind and under the
//! sanitizers, and driven by programs that know nothing of zcn.
// Built with AddressSanitizer, the library fits no program of another compiler.
#![cfg(not(asan))]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

/// How long a program may take before it counts as hung; under valgrind all take their time.
const HANG: Duration = Duration::from_secs(120);

fn skipped(reason: impl std::fmt::Display) {
    let _ = writeln!(io::stdout(), "SKIPPED: {reason}");
}

/// Whether a program is installed; says so when it is not.
fn there(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()));
    if !found {
        skipped(format_args!("{program} is not installed"));
    }
    found
}

/// How a program is built and watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The static library, under valgrind, which also counts descriptors.
    Valgrind,
    /// The shared library, with AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer.
    Sanitized,
}

impl Way {
    /// Those that this machine can go.
    fn all() -> Vec<Self> {
        let mut ways = vec![Self::Sanitized];
        if there("valgrind") {
            ways.push(Self::Valgrind);
        }
        ways
    }
}

/// This crate.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where cargo put the library of this build: beside this program.
fn library(file: &str) -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let path = program.parent().unwrap().join(file);
    assert!(path.is_file(), "{} is not there", path.display());
    path
}

/// What has been built: tests run side by side, and a program that runs cannot be written.
static BUILT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Builds one source file with warnings as errors, once.
fn build(source: &str, standard: &str, way: Way) -> PathBuf {
    let source = root().join(source);
    let compiler = if standard.starts_with("c++") {
        "g++"
    } else {
        "gcc"
    };
    let name = source.file_stem().unwrap().to_str().unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{standard}-{way:?}"));
    let mut built = BUILT.lock().unwrap();
    if built.contains(&target) {
        return target;
    }
    let mut command = Command::new(compiler);
    command
        .arg(format!("-std={standard}"))
        .args(["-D_POSIX_C_SOURCE=200809L", "-O1", "-g"])
        .args(["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"])
        .arg("-I")
        .arg(root().join("include"))
        .arg(source)
        .arg("-o")
        .arg(&target);
    match way {
        Way::Valgrind => {
            command.arg(library("libzero_copy_net.a"));
        }
        Way::Sanitized => {
            let library = library("libzero_copy_net.so");
            let folder = library.parent().unwrap();
            // The loader asks for the name with the version.
            let soname = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libzero_copy_net.so.0");
            let _ = fs::remove_file(&soname);
            std::os::unix::fs::symlink(&library, &soname).unwrap();
            command
                .args(["-fsanitize=address,undefined", "-fno-sanitize-recover"])
                .arg("-L")
                .arg(folder)
                .arg("-lzero_copy_net")
                .arg(format!("-Wl,-rpath,{}", env!("CARGO_TARGET_TMPDIR")));
        }
    }
    let output = command.args(["-lpthread", "-lm"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{text}");
    built.insert(target.clone());
    target
}

/// A program under its watch.
fn watched(program: &Path, way: Way) -> Command {
    match way {
        Way::Sanitized => {
            let mut command = Command::new(program);
            command.env("ASAN_OPTIONS", "detect_leaks=1:exitcode=99");
            command
        }
        Way::Valgrind => {
            let mut command = Command::new("valgrind");
            command
                .args(["--quiet", "--error-exitcode=99", "--leak-check=full"])
                // What the process keeps to its end is no leak; its tables look "possibly lost".
                .args(["--errors-for-leak-kinds=definite,indirect"])
                .args(["--show-leak-kinds=definite,indirect", "--track-fds=yes"])
                .arg(format!(
                    "--suppressions={}",
                    root().join("tests/c/glibc.supp").display()
                ))
                .arg(program);
            command
        }
    }
}

/// A program that runs, to be ended by a signal.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    way: Way,
    name: String,
    knock: Knock,
    ended: bool,
}

/// How a sleeping server is made to look up, if it must.
///
/// valgrind does not know that io_uring_enter(2) may block: no signal reaches the program and no
/// other thread of it runs until the call has returned.
#[derive(Clone, Copy, Debug)]
enum Knock {
    Tcp,
    Udp,
}

impl Running {
    fn start(program: &Path, way: Way, arguments: &[&str]) -> Self {
        Self::start_with(program, way, arguments, Knock::Tcp)
    }

    fn start_with(program: &Path, way: Way, arguments: &[&str], knock: Knock) -> Self {
        let errors = program.with_extension(format!("{}.err", std::process::id()));
        let mut child = watched(program, way)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors).unwrap())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self {
            child,
            lines,
            way,
            name: errors.to_string_lossy().into_owned(),
            knock,
            ended: false,
        }
    }

    fn line(&self) -> String {
        self.lines
            .recv_timeout(HANG)
            .unwrap_or_else(|error| panic!("{error}: {}", self.errors()))
    }

    /// The port that it says it listens on.
    fn port(&self) -> String {
        let line = self.line();
        let (_, port) = line.rsplit_once([':', ' ']).unwrap();
        assert!(line.starts_with("listening on "), "{line}");
        port.to_owned()
    }

    fn errors(&self) -> String {
        fs::read_to_string(&self.name).unwrap_or_default()
    }

    /// Ends it as a user does and sees that nothing was wrong; the rest of what it printed.
    fn end(mut self, port: &str) -> Vec<String> {
        self.ended = true;
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let address = format!("127.0.0.1:{port}");
        let (knock, valgrind) = (self.knock, self.way == Way::Valgrind);
        let status = wait_with(&mut self.child, &self.name, || match knock {
            Knock::Tcp if valgrind => drop(std::net::TcpStream::connect(&address)),
            Knock::Udp if valgrind => {
                let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
                let _ = socket.send_to(b"knock", &address);
            }
            _ => {}
        });
        let errors = self.errors();
        assert!(status.success(), "{status}: {errors}");
        clean(&errors, self.way);
        let _ = fs::remove_file(&self.name);
        self.lines.iter().collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn wait(child: &mut Child, name: &str) -> std::process::ExitStatus {
    wait_with(child, name, || {})
}

/// Waits, and does `meanwhile` again and again.
fn wait_with(
    child: &mut Child,
    name: &str,
    mut meanwhile: impl FnMut(),
) -> std::process::ExitStatus {
    let deadline = Instant::now() + HANG;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("{name} hangs");
        }
        meanwhile();
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the watch said: nothing, but for descriptors that were there before the program.
fn clean(errors: &str, way: Way) {
    if way == Way::Valgrind {
        let mut lines = errors.lines().peekable();
        while let Some(line) = lines.next() {
            if line.contains("Open ") && line.contains(" descriptor ") || line.contains("socket") {
                let inherited = lines
                    .peek()
                    .is_some_and(|next| next.contains("inherited from parent"));
                assert!(inherited, "a descriptor was left: {errors}");
            }
        }
    }
    assert!(
        !errors.contains("Sanitizer") && !errors.contains("lost in loss record"),
        "{errors}"
    );
}

/// Runs a program with this input to its end; its output.
fn run(command: &mut Command, input: &[u8]) -> (Vec<u8>, String, std::process::ExitStatus) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A program may end without reading all of it.
        let _ = stdin.write_all(&input);
    });
    let mut stderr = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut output = Vec::new();
        stdout.read_to_end(&mut output).unwrap();
        output
    });
    let status = wait(&mut child, &format!("{command:?}"));
    writer.join().unwrap();
    (reader.join().unwrap(), errors.join().unwrap(), status)
}

fn message(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// Clients that know nothing of zcn get back what they send.
fn echoes(port: &str) {
    echoes_at("127.0.0.1", port);
}

fn echoes_at(address: &str, port: &str) {
    for len in [1, 5000, 1_000_000] {
        let message = message(len);
        for arguments in [
            &["nc", "-N", address, port][..],
            &["socat", "-t20", "-", &format!("TCP:{address}:{port}")][..],
        ] {
            if there(arguments[0]) {
                let mut command = Command::new(arguments[0]);
                let (answer, errors, _) = run(command.args(&arguments[1..]), &message);
                assert!(answer == message, "{arguments:?} {len}: {errors}");
            }
        }
    }
    if there("curl") {
        // An echo answers a request with itself, which is no HTTP of this century, and then waits
        // for more: curl is done with when it has shown all of it.
        let url = format!("http://{address}:{port}/hello");
        let mut curl = Command::new("curl")
            .args(["-sN", "--http0.9", "-m", "120", &url])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answer = BufReader::new(curl.stdout.take().unwrap()).lines();
        let answer: Vec<String> = answer
            .map(Result::unwrap)
            .take_while(|line| !line.is_empty())
            .collect();
        let _ = curl.kill();
        let _ = curl.wait();
        let first = answer.first().map(String::as_str);
        assert_eq!(first, Some("GET /hello HTTP/1.1"), "{answer:?}");
        assert!(
            answer.iter().any(|line| line.starts_with("Host: ")),
            "{answer:?}"
        );
    }
}

fn need_compilers() -> bool {
    there("gcc") && there("g++")
}

#[test]
fn echo_server_in_c() {
    if !need_compilers() {
        return;
    }
    for way in Way::all() {
        let program = build("../../examples/c/echo_server.c", "c99", way);
        let server = Running::start(&program, way, &["127.0.0.1", "0"]);
        let port = server.port();
        echoes(&port);
        let said = server.end(&port).join("\n");
        // Everything is counted, sent from leases too.
        let numbers: Vec<u64> = said
            .split(|digit: char| !digit.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect();
        let [_, received, sent, in_use] = numbers[..] else {
            panic!("{said}");
        };
        assert!(received > 0 && received == sent && in_use == 0, "{said}");
    }
}

/// The same program on the user-space TCP/IP, by its options alone; the kernel is the peer, in a
/// network namespace of its own.
#[test]
fn echo_server_in_c_on_a_stack() {
    if !need_compilers() {
        return;
    }
    if let Err(error) = File::open("/dev/net/tun") {
        skipped(format_args!("no TAP device: {error}"));
        return;
    }
    let tested = std::thread::spawn(|| {
        if let Err(error) = zcn_sys::namespace::enter_new_network() {
            skipped(format_args!("no network namespace of our own: {error}"));
            return;
        }
        for way in Way::all() {
            let program = build("../../examples/c/echo_server.c", "c99", way);
            let capture = program.with_extension("pcapng");
            let mut arguments = vec![
                "10.9.0.2".to_owned(),
                "7007".to_owned(),
                "backend=stack".to_owned(),
                "link=tap:zcn0".to_owned(),
                "addresses=10.9.0.2/24".to_owned(),
                "kernel_addresses=10.9.0.1/24".to_owned(),
                format!("capture={}", capture.display()),
            ];
            if way == Way::Valgrind {
                // So that the signal at the end reaches it.
                arguments.push("reactor=epoll".to_owned());
            }
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let server = Running::start(&program, way, &arguments);
            let port = server.port();
            echoes_at("10.9.0.2", &port);
            server.end(&port);
            let frames = fs::metadata(&capture).unwrap().len();
            assert!(frames > 2_000_000, "{frames} bytes of frames");
            let _ = fs::remove_file(&capture);
        }
    });
    if let Err(panic) = tested.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn the_origins_own_program_unchanged() {
    if !need_compilers() {
        return;
    }
    for way in Way::all() {
        let program = build("../../examples/c/origin.c", "c99", way);
        // It picks no port; this one is free at the moment.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port()
            .to_string();
        let server = Running::start(&program, way, &[&port]);
        assert_eq!(server.port(), port);
        echoes(&port);
        let said = server.end(&port).join("\n");
        // The knock may still be there.
        assert!(
            said.contains("0 in use") && said.contains("connections: "),
            "{said}"
        );
    }
}

#[test]
fn zcn_inside_a_foreign_epoll_loop() {
    if !need_compilers() {
        return;
    }
    for way in Way::all() {
        let program = build("../../examples/c/epoll_embed.c", "c11", way);
        let server = Running::start(&program, way, &["127.0.0.1", "0"]);
        let port = server.port();
        echoes(&port);
        // Idle for longer than its timer's interval.
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(server.end(&port), ["the timer struck"]);
    }
}

#[test]
fn client_in_c() {
    if !need_compilers() || !there("socat") {
        return;
    }
    for way in Way::all() {
        let program = build("../../examples/c/client.c", "c11", way);
        let server = build("../../examples/c/echo_server.c", "c11", way);
        let server = Running::start(&server, way, &["127.0.0.1", "0"]);
        let port = server.port();
        for len in [0, 1, 3_000_000] {
            let message = message(len);
            // By name, so that resolution is part of it.
            let mut client = watched(&program, way);
            let (answer, errors, status) = run(client.args(["localhost", &port]), &message);
            assert!(answer == message && status.success(), "{status}: {errors}");
            clean(&errors, way);
        }
        server.end(&port);
        let mut client = watched(&program, way);
        let (_, errors, status) = run(client.args(["127.0.0.1", &port]), b"");
        assert_eq!(status.code(), Some(1), "{errors}");
        assert!(errors.contains("ZCN_ERROR_CONNECT_FAILED"), "{errors}");
        assert!(errors.contains(&port), "{errors}");
        clean(&errors, way);
    }
}

#[test]
fn datagrams_in_c() {
    if !need_compilers() {
        return;
    }
    for way in Way::all() {
        let program = build("../../examples/c/udp_echo.c", "c99", way);
        let server = Running::start_with(&program, way, &["127.0.0.1", "0"], Knock::Udp);
        let port = server.port();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(HANG)).unwrap();
        socket.connect(format!("127.0.0.1:{port}")).unwrap();
        for len in [0, 1, 1472, 9000, 60_000] {
            let message = message(len);
            let mut answer = vec![0; 65536];
            assert_eq!(socket.send(&message).unwrap(), len);
            let count = socket.recv(&mut answer).unwrap();
            assert!(answer[..count] == message);
        }
        let said = server.end(&port).join("\n");
        assert!(said.ends_with(" datagrams echoed, 0 dropped"), "{said}");
    }
}

#[test]
fn proxy_that_forwards_leases() {
    if !need_compilers() {
        return;
    }
    for way in Way::all() {
        let proxy = build("../../examples/c/proxy.c", "c99", way);
        let echo = build("../../examples/c/echo_server.c", "c99", way);
        let echo = Running::start(&echo, way, &["127.0.0.1", "0"]);
        let echo_port = echo.port();
        let host = match way {
            Way::Sanitized => "localhost",
            // Resolution is another thread's.
            Way::Valgrind => "127.0.0.1",
        };
        let through = Running::start(&proxy, way, &[host, &echo_port, "127.0.0.1", "0"]);
        let port = through.port();
        echoes(&port);
        // A target that is gone resets the client, and the proxy goes on.
        echo.end(&echo_port);
        let (answer, ..) = run(Command::new("nc").args(["127.0.0.1", &port]), b"lost");
        assert!(answer.is_empty());
        through.end(&port);
    }
}

#[test]
fn downloads_through_the_proxy() {
    if !need_compilers() || !there("curl") || !there("python3") {
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("site");
    fs::create_dir_all(&folder).unwrap();
    let content = message(5_000_000);
    fs::write(folder.join("file"), &content).unwrap();
    let code = "import http.server as h,functools as f;\
        s=h.ThreadingHTTPServer(('127.0.0.1',0),f.partial(h.SimpleHTTPRequestHandler));\
        print('listening on',s.server_address[1],flush=True);s.serve_forever()";
    let mut site = Command::new("python3")
        .args(["-c", code])
        .current_dir(&folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(site.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let site_port = line.trim().rsplit(' ').next().unwrap();
    for way in Way::all() {
        let proxy = build("../../examples/c/proxy.c", "c11", way);
        let proxy = Running::start(&proxy, way, &["127.0.0.1", site_port, "127.0.0.1", "0"]);
        let port = proxy.port();
        let url = format!("http://127.0.0.1:{port}/file");
        for _ in 0..3 {
            let (got, errors, status) = run(Command::new("curl").args(["-s", &url]), b"");
            assert!(status.success() && got == content, "{status}: {errors}");
        }
        proxy.end(&port);
    }
    let _ = site.kill();
    let _ = site.wait();
}

/// Builds a test program by each of the standards, every way, and runs it: it says this and nothing
/// is wrong.
fn says(source: &str, standards: &[&str], line: &str) {
    says_with(source, standards, &[], line);
}

fn says_with(source: &str, standards: &[&str], arguments: &[&str], line: &str) {
    if !need_compilers() {
        return;
    }
    for way in Way::all() {
        for standard in standards {
            let program = build(source, standard, way);
            let (said, errors, status) = run(watched(&program, way).args(arguments), b"");
            assert!(status.success(), "{status}: {errors}");
            assert_eq!(String::from_utf8_lossy(&said).trim_end(), line);
            clean(&errors, way);
        }
    }
}

#[test]
fn everything_that_c_programmers_do_wrong() {
    says(
        "tests/c/misuse.c",
        &["c99", "c11"],
        "everything was refused",
    );
}

#[test]
fn every_call_with_everything_it_must_refuse() {
    says("tests/c/every_call.c", &["c99"], "every call was refused");
}

/// A function that is added must be tried there, too.
#[test]
fn every_function_of_the_header_is_misused() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let (header, program) = (
        read("include/zero_copy_net.h"),
        read("tests/c/every_call.c"),
    );
    let names: BTreeSet<&str> = header
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '('))
        .filter_map(|word| word.split_once('(').map(|(name, _)| name))
        .filter(|name| name.starts_with("zcn_"))
        .collect();
    assert!(names.len() >= 82, "{names:?}");
    for name in names {
        assert!(program.contains(&format!("{name}(")), "{name}");
    }
}

#[test]
fn one_program_on_either_half() {
    let line = "the same on either half";
    for reactor in ["reactor=auto", "reactor=epoll"] {
        for backend in [&["backend=kernel"][..], &["backend=stack", "link=memory"]] {
            let arguments = [&[reactor], backend].concat();
            says_with("tests/c/backend.c", &["c99"], &arguments, line);
        }
    }
}

#[test]
fn owners_in_cpp() {
    says("tests/c/owners.cpp", &["c++11", "c++20"], "all owned");
}

#[test]
fn module_for_python() {
    if !there("python3") {
        return;
    }
    let mut command = Command::new("python3");
    command
        .args(["-B", "-m", "unittest", "-v", "test_zcn"])
        .current_dir(root().join("python"))
        .env("ZCN_LIBRARY", library("libzero_copy_net.so"));
    let (_, text, status) = run(&mut command, b"");
    assert!(status.success(), "{text}");
    assert!(text.contains("Ran 9 tests"), "{text}");
}

/// Programs of the guide, by their language.
fn guide(language: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("../../docs/c.md")).unwrap();
    let mut programs = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == format!("```{language}") {
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            programs.push(body.join("\n") + "\n");
        }
    }
    assert!(
        !programs.is_empty(),
        "the guide has no program in {language}"
    );
    programs
}

/// The programs of the guide, ready to run, with what each looks like.
fn guides_programs() -> Vec<(String, Command)> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guide");
    fs::create_dir_all(&folder).unwrap();
    let mut programs = Vec::new();
    for (language, standard) in [("c", "c99"), ("cpp", "c++11")] {
        for (number, program) in guide(language).into_iter().enumerate() {
            let file = folder.join(format!("guide{number}.{language}"));
            fs::write(&file, &program).unwrap();
            let built = build(file.to_str().unwrap(), standard, Way::Sanitized);
            programs.push((program, watched(&built, Way::Sanitized)));
        }
    }
    if there("python3") {
        for program in guide("python") {
            let mut command = Command::new("python3");
            command
                .args(["-B", "-c", &program])
                .current_dir(root().join("python"))
                .env("ZCN_LIBRARY", library("libzero_copy_net.so"));
            programs.push((program, command));
        }
    }
    programs
}

/// Each as it is written: a server answers on its port, any other program ends well. The port is
/// theirs alone in a network namespace.
#[test]
fn the_guides_programs_run() {
    if !need_compilers() || !there("ip") {
        return;
    }
    let programs = guides_programs();
    let tested = std::thread::spawn(|| {
        if let Err(error) = zcn_sys::namespace::enter_new_network() {
            skipped(format_args!("no network namespace of our own: {error}"));
            return;
        }
        let mut up = Command::new("ip");
        let (_, errors, status) = run(up.args(["link", "set", "lo", "up"]), b"");
        assert!(status.success(), "{status}: {errors}");
        let mut servers = 0;
        for (text, mut command) in programs {
            if text.contains("7007") {
                servers += 1;
                answers(&mut command, "127.0.0.1:7007");
            } else {
                let (_, errors, status) = run(&mut command, b"");
                assert!(status.success(), "{status}: {errors}\n{text}");
            }
        }
        assert!(servers >= 2, "the servers of the guide were not recognised");
    });
    if let Err(panic) = tested.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Ends a program whatever happens.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server that never ends and has it echo; its port is free again afterwards.
fn answers(command: &mut Command, address: &str) {
    let mut server = Killed(command.stdout(Stdio::null()).spawn().unwrap());
    let mut connected = None;
    eventually(|| {
        connected = std::net::TcpStream::connect(address).ok();
        assert_eq!(server.0.try_wait().unwrap(), None, "{command:?}");
        connected.is_some()
    });
    let mut client = connected.unwrap();
    client.set_read_timeout(Some(HANG)).unwrap();
    client.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
    drop(server);
    // The kernel ends a ring, and what that holds, after the process.
    eventually(|| std::net::TcpStream::connect(address).is_err());
}

fn eventually(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANG;
    while !done() {
        assert!(Instant::now() < deadline, "never");
        std::thread::sleep(Duration::from_millis(20));
    }
}
