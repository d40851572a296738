//! `zcn connect`: standard input to a server, what it answers to standard output.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use zcn::handoff::{self, Sender};
use zcn::stack::StackConfig;
use zcn::{Buf, ConnectOptions, Net, Runtime, SharedBuf, TcpStream};
use zcn_stack::AddressState;

use crate::failure::Failure;
use crate::quantity;
use crate::stack::failure;
use crate::stack::link_args::LinkArgs;

/// Most bytes read from standard input at a time.
const PIECE: usize = 64 * 1024;
/// Pieces that wait on their way, each way.
const QUEUE: usize = 32;
/// How long a full queue is left alone.
const FULL: Duration = Duration::from_millis(1);
/// How long an address of ours may take to be found unique.
const TENTATIVE: Duration = Duration::from_secs(5);
/// How long the peer may take to acknowledge the end, where the stack is ours to keep alive.
const FAREWELL: Duration = Duration::from_secs(5);

/// Arguments of `zcn connect`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  echo hello | zcn connect localhost 7
  zcn connect --tap zcn0 --address 10.9.0.2/24 --kernel-address 10.9.0.1/24 10.9.0.1 8080

Without a link it is the kernel's TCP, with one (--tap, --tun, --veth, --config) a stack of our own. \
The end of standard input ends our direction only: what the server still sends is shown. When the \
server ends first, the rest of standard input is still sent, unless that is a terminal.")]
pub struct ConnectArgs {
    /// The server: a name or an address.
    #[arg(value_name = "HOST")]
    pub host: String,

    /// Its port.
    #[arg(value_name = "PORT", value_parser = quantity::whole(1_u16..=65_535))]
    pub port: u16,

    /// How long connecting may take.
    #[arg(short = 'w', long, value_name = "TIME", default_value = "30s", value_parser = quantity::duration)]
    pub timeout: Duration,

    /// The stack that connects, if not the kernel's.
    #[command(flatten)]
    pub on: LinkArgs,
}

/// Connects, and carries bytes both ways until both directions have ended.
///
/// # Errors
/// No way to the server, or the connection broke.
pub fn run(args: &ConnectArgs) -> Result<ExitCode, Failure> {
    let config = match args.on.is_given() {
        true => Some(args.on.settings()?),
        false => None,
    };
    let mut runtime = Runtime::new()?;
    let net = match &config {
        Some(config) => runtime.open_stack(config).map_err(failure)?,
        None => runtime.kernel_net(),
    };
    let (input, lines) = handoff::bounded(QUEUE);
    let (output, pieces) = sync_channel(QUEUE);
    let thread_failed = |error| Failure::new("cannot start a thread").because(error);
    let writer = thread::Builder::new()
        .name("stdout".to_owned())
        .spawn(move || write_out(&pieces))
        .map_err(thread_failed)?;
    // Not joined: it may wait for input that never comes.
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || read_in(input))
        .map_err(thread_failed)?;
    let carried = runtime.block_on(async {
        let stream = open(args, config.as_ref(), &net).await?;
        carry(stream, lines, output).await?;
        farewell(&net).await;
        Ok(())
    });
    let written = writer
        .join()
        .map_err(|_| Failure::new("the thread of standard output panicked"))?;
    written?;
    carried?.map(|()| ExitCode::SUCCESS)
}

async fn open(
    args: &ConnectArgs,
    config: Option<&StackConfig>,
    net: &Net,
) -> Result<TcpStream, Failure> {
    if config.is_some() {
        await_addresses(net).await;
    }
    let target = match args.host.contains(':') {
        true => format!("[{}]:{}", args.host, args.port),
        false => format!("{}:{}", args.host, args.port),
    };
    let options = ConnectOptions::default();
    let connecting = net.tcp_connect_host(&target, &options);
    match zcn::timeout(args.timeout, connecting).await {
        Ok(connected) => Ok(connected?),
        Err(_) => Err(Failure::new(format!(
            "cannot connect to {target}: no answer in {} s",
            args.timeout.as_secs_f64()
        ))
        .remedy("a longer --timeout, or check that the server is reachable")),
    }
}

/// Duplicate address detection takes a second, in which an IPv6 address cannot be used.
async fn await_addresses(net: &Net) {
    let Some(interface) = net.interface() else {
        return;
    };
    let begun = Instant::now();
    let tentative = || {
        net.with_stack(|stack, _| {
            stack
                .addresses(interface)
                .any(|(_, state)| state == AddressState::Tentative)
        })
    };
    while tentative() == Some(true) && begun.elapsed() < TENTATIVE {
        zcn::sleep(Duration::from_millis(10)).await;
    }
}

/// Both directions, each to its end.
async fn carry(
    stream: TcpStream,
    mut input: handoff::Receiver<Bytes>,
    output: SyncSender<Buf>,
) -> Result<(), Failure> {
    let stream = Rc::new(stream);
    let failed = Rc::new(RefCell::new(None));
    let (sending, failure) = (stream.clone(), failed.clone());
    let sender = zcn::spawn(async move {
        while let Some(piece) = input.recv().await {
            if let Err(error) = sending.send(SharedBuf::from(piece)).await {
                *failure.borrow_mut() = Some(error);
                return;
            }
        }
        sending.shutdown();
        if let Err(error) = sending.flush().await {
            *failure.borrow_mut() = Some(error);
        }
    });
    loop {
        match stream.recv().await? {
            None => break,
            Some(data) => {
                if !hand_over(&output, data).await {
                    // Nobody reads what comes: as for any program in a pipe.
                    return Ok(());
                }
            }
        }
    }
    drop(output);
    if !io::stdin().is_terminal() {
        // It panics only where we do.
        let _ = sender.await;
        if let Some(error) = failed.borrow_mut().take() {
            return Err(error.into());
        }
    }
    Ok(())
}

/// Gives a piece to the thread that writes. Answers whether it is still there.
async fn hand_over(output: &SyncSender<Buf>, data: Buf) -> bool {
    let mut piece = data;
    loop {
        match output.try_send(piece) {
            Ok(()) => return true,
            Err(TrySendError::Disconnected(_)) => return false,
            Err(TrySendError::Full(back)) => {
                piece = back;
                zcn::sleep(FULL).await;
            }
        }
    }
}

/// What was sent last is acknowledged by the peer's stack while ours is there to send it
/// again.
async fn farewell(net: &Net) {
    let begun = Instant::now();
    let open = || net.with_stack(|stack, _| stack.tcp_table_sizes().0);
    while open().is_some_and(|count| count > 0) && begun.elapsed() < FAREWELL {
        zcn::sleep(Duration::from_millis(5)).await;
    }
}

fn read_in(mut queue: Sender<Bytes>) {
    let mut input = io::stdin().lock();
    let mut buffer = vec![0; PIECE];
    loop {
        let mut piece = match input.read(&mut buffer) {
            // What cannot be read any more has ended.
            Ok(0) | Err(_) => return,
            Ok(len) => Bytes::copy_from_slice(&buffer[..len]),
        };
        while let Err(refused) = queue.try_send(piece) {
            if queue.is_closed() {
                return;
            }
            piece = refused.into_inner();
            thread::sleep(FULL);
        }
    }
}

fn write_out(pieces: &Receiver<Buf>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    while let Ok(piece) = pieces.recv() {
        out.write_all(&piece)?;
        out.flush()?;
    }
    Ok(())
}
