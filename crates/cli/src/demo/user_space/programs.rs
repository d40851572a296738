//! Programs that know nothing of us, where they are installed.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};

use super::party::{SERVER, has_program};
use crate::failure::Failure;
use crate::network::Host;

/// Bytes that curl downloads: few where everything is captured.
const PAGE: u64 = 100_000_000;
const CAPTURED_PAGE: u64 = 200_000;

/// Runs them, and answers what each of them said, a line each.
pub(super) fn run(host: &Host, captured: bool) -> Result<Vec<String>, Failure> {
    let page = if captured { CAPTURED_PAGE } else { PAGE };
    let mut lines = Vec::new();
    if has_program("ping") {
        let output = program(host, &format!("ping -c 20 -i 0.01 -q {SERVER}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        lines.extend(ping_line(&text));
    }
    let url = format!("http://{SERVER}/bytes/{page}");
    if has_program("curl") {
        let form = "%{http_code}\u{20}%{size_download}\u{20}%{speed_download}";
        let mut arguments: Vec<String> = ["curl", "-sS", "-m", "20", "-o", "/dev/null", "-w"]
            .map(str::to_owned)
            .to_vec();
        arguments.extend([form.to_owned(), url]);
        let output = command(host, arguments)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        lines.push(curl_line(&text, page).ok_or_else(|| {
            Failure::new(format!("curl did not get the page: {text}"))
                .because(String::from_utf8_lossy(&output.stderr).trim())
        })?);
    } else {
        let got = host
            .enter(move || get(page))?
            .map_err(|error| Failure::new("cannot get a page").because(error))?;
        lines.push(format!(
            "curl is not installed; a socket got {got} bytes by HTTP instead"
        ));
    }
    Ok(lines)
}

fn program(host: &Host, line: &str) -> Result<Output, Failure> {
    command(host, line.split_whitespace().map(str::to_owned).collect())
}

fn command(host: &Host, words: Vec<String>) -> Result<Output, Failure> {
    let failed = format!("cannot run {}", words.join(" "));
    host.enter(move || Command::new(&words[0]).args(&words[1..]).output())?
        .map_err(|error| Failure::new(failed).because(error))
}

/// `ping: 20 of 20 answered, 0.045 ms on average`.
fn ping_line(text: &str) -> Option<String> {
    let counts = text.lines().find(|line| line.contains("transmitted"))?;
    let mut numbers = counts
        .split_whitespace()
        .filter_map(|word| word.parse::<u64>().ok());
    let (sent, received) = (numbers.next()?, numbers.next()?);
    let average = text
        .lines()
        .find(|line| line.starts_with("rtt"))
        .and_then(|line| line.split('=').nth(1))
        .and_then(|times| times.split('/').nth(1))
        .map(|average| format!(", {average} ms on average"))
        .unwrap_or_default();
    Some(format!("ping: {received} of {sent} answered{average}"))
}

/// `curl: 100 MB by HTTP at 9.1 Gbit/s`.
fn curl_line(text: &str, page: u64) -> Option<String> {
    let mut words = text.split_whitespace();
    let (code, size, speed) = (words.next()?, words.next()?, words.next()?);
    let size: u64 = size.parse().ok()?;
    let speed: f64 = speed.parse().ok()?;
    (code == "200" && size == page).then(|| {
        format!(
            "curl: {:.1} MB by HTTP at {:.2} Gbit/s",
            size as f64 / 1e6,
            speed * 8.0 / 1e9
        )
    })
}

/// How many bytes a page has.
fn get(page: u64) -> io::Result<u64> {
    let mut stream = TcpStream::connect((SERVER, 80))?;
    write!(
        stream,
        "GET /bytes/{page} HTTP/1.1\r\nHost: {SERVER}\r\nConnection: close\r\n\r\n"
    )?;
    let mut all = 0;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(all),
            len => all += len as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_say_is_read() {
        let ping = "20 packets transmitted, 20 received, 0% packet loss, time 190ms\n\
                    rtt min/avg/max/mdev = 0.031/0.045/0.070/0.010 ms\n";
        assert_eq!(
            ping_line(ping).as_deref(),
            Some("ping: 20 of 20 answered, 0.045 ms on average")
        );
        assert_eq!(
            ping_line("2 packets transmitted, 0 received").as_deref(),
            Some("ping: 0 of 2 answered")
        );
        assert_eq!(
            curl_line("200 1000000 125000000", 1_000_000).as_deref(),
            Some("curl: 1.0 MB by HTTP at 1.00 Gbit/s")
        );
        assert_eq!(curl_line("404 10 20", 10), None);
        assert_eq!(curl_line("", 10), None);
    }
}
