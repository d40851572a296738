//! The settings of `zcn mine` in a TOML file.
//!
//! ```toml
//! threads = 2
//! ledger = "shares.ledger"
//!
//! [[pool]]
//! url = "stratum+ssl://pool.example:3443"
//! user = "worker"
//! ```
//!
//! Apart from the pools, a key is the long name of a flag and its value what stands behind that:
//! the file is read by what reads the command line, so that there is one set of rules.

use std::fs;
use std::path::Path;

use clap::{Args, Command, FromArgMatches};
use serde::Deserialize;
use toml::{Table, Value};
use zcn_miner::session::Pool;

use super::args::MineArgs;
use crate::failure::Failure;

/// Flags that are no settings.
const NO_KEYS: [&str; 8] = [
    "url",
    "user",
    "pass",
    "pin",
    "config",
    "benchmark",
    "latency",
    "help",
];

/// What a file says.
pub(super) struct FileSettings {
    /// All but the pools.
    pub(super) args: MineArgs,
    pub(super) pools: Vec<Pool>,
}

/// The part of a file that flags do not read. Errors in it come with line and column.
#[derive(Deserialize)]
struct Pools {
    #[serde(default)]
    pool: Vec<PoolTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PoolTable {
    url: String,
    user: String,
    pass: Option<String>,
    #[serde(default)]
    pin: Vec<String>,
}

impl PoolTable {
    fn pool(self) -> Result<Pool, String> {
        let wrong = |key: &str, error: &dyn std::fmt::Display| format!("`{key}`: {error}");
        let pins = self.pin.iter().map(|pin| pin.parse());
        Ok(Pool {
            url: self.url.parse().map_err(|error| wrong("url", &error))?,
            user: self.user,
            password: self.pass.unwrap_or_else(|| super::PASSWORD.to_owned()),
            pins: pins
                .collect::<Result<_, _>>()
                .map_err(|error| wrong("pin", &error))?,
        })
    }
}

/// Reads a file.
///
/// # Errors
/// Which key of which file is not understood, and why.
pub(super) fn read(path: &Path) -> Result<FileSettings, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::new(format!("cannot read {}", path.display()))
            .because(error)
            .remedy("--config FILE with a TOML file that you may read")
    })?;
    parse(&text).map_err(|error| {
        Failure::new(format!("cannot use {}", path.display()))
            .because(error)
            .remedy("`zcn mine --help` for the flags, whose long names are the keys")
    })
}

fn parse(text: &str) -> Result<FileSettings, String> {
    let wrong = |error: toml::de::Error| error.to_string().trim_end().to_owned();
    let mut table: Table = toml::from_str(text).map_err(wrong)?;
    if !matches!(table.remove("pool"), None | Some(Value::Array(_))) {
        return Err("`pool` is no list of tables; write [[pool]]".to_owned());
    }
    let Pools { pool } = toml::from_str(text).map_err(wrong)?;
    let number = |(index, pool): (usize, PoolTable)| {
        let named = |error| format!("[[pool]] number {}: {error}", index + 1);
        pool.pool().map_err(named)
    };
    let pools = pool.into_iter().enumerate().map(number);
    let pools = pools.collect::<Result<_, _>>()?;
    let args = flags(&table)?;
    Ok(FileSettings { args, pools })
}

/// Reads each key as the flag of its name.
fn flags(table: &Table) -> Result<MineArgs, String> {
    let command = MineArgs::augment_args(Command::new("mine").no_binary_name(true));
    // With a file, a command line may do without a pool.
    let mut line = vec!["--config=this".to_owned()];
    for (key, value) in table {
        let known = command
            .get_arguments()
            .find(|flag| flag.get_long() == Some(key) && !NO_KEYS.contains(&key.as_str()));
        let Some(flag) = known else {
            let of_pool = ["url", "user", "pass", "pin"].contains(&key.as_str());
            let hint = if of_pool {
                "; it belongs below [[pool]]"
            } else {
                ""
            };
            return Err(format!("`{key}` is no setting{hint}"));
        };
        let takes_value = flag.get_action().takes_values();
        match value {
            Value::Boolean(true) if !takes_value => line.push(format!("--{key}")),
            Value::Boolean(false) if !takes_value => {}
            Value::String(text) if takes_value => line.push(format!("--{key}={text}")),
            Value::Integer(number) if takes_value => line.push(format!("--{key}={number}")),
            Value::Float(number) if takes_value => line.push(format!("--{key}={number}")),
            _ => {
                let wanted = if takes_value {
                    "text or a number"
                } else {
                    "true or false"
                };
                let found = value.type_str();
                return Err(format!("`{key}` is {wanted}, not of type {found}"));
            }
        }
    }
    let read = command
        .try_get_matches_from(line)
        .and_then(|matches| MineArgs::from_arg_matches(&matches));
    read.map_err(|error| {
        let text = error.render().to_string();
        // The first paragraph names the flag; what follows is about command lines.
        let first = text.split("\n\n").next().unwrap_or_default();
        first.trim_start_matches("error: ").trim_end().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mine::args::ChannelKind;
    use zcn_miner::session::Protocol;

    #[test]
    fn keys_are_the_flags() {
        let settings = parse(
            r#"
            threads = 3
            cpu-affinity = "0x5"
            engine = "scalar"
            roll = true
            spin-workers = false
            ledger = "shares.ledger"
            ledger-sync = true
            api = "127.0.0.1:0"
            time-limit = "5s"
            spin = 20
            reactor = "epoll"
            plain = true
            json = true
            channel = "extended"

            [[pool]]
            url = "a:1"
            user = "me"

            [[pool]]
            url = "stratum+ssl://b:2"
            user = "you"
            pass = "secret"
            pin = ["0101010101010101010101010101010101010101010101010101010101010101"]
            "#,
        );
        let FileSettings { args, pools } = settings.expect("a good file");
        assert_eq!(args.threads.map(usize::from), Some(3));
        assert_eq!(args.cpu_affinity, Some(5));
        assert!(args.roll && !args.spin_workers && args.ledger_sync && args.plain && args.json);
        assert_eq!(args.channel, Some(ChannelKind::Extended));
        assert_eq!(args.event_loop.spin, Some(20));
        assert_eq!(pools.len(), 2);
        assert_eq!(pools[0].password, "x");
        assert!(pools[0].pins.is_empty());
        assert_eq!(pools[1].url.protocol, Protocol::V1Tls);
        assert_eq!(pools[1].pins.len(), 1);
        assert!(parse("").expect("nothing is said").pools.is_empty());
    }

    /// A zero is as good a setting as any other; it was taken for no flag at all.
    #[test]
    fn spin_zero_on_the_command_line_overrides_the_file() {
        let command = MineArgs::augment_args(Command::new("mine"));
        let of = |flags: &[&str]| {
            let matches = command
                .clone()
                .try_get_matches_from([&["mine", "-o", "a:1", "-u", "me"], flags].concat());
            MineArgs::from_arg_matches(&matches.expect("flags")).expect("arguments")
        };
        let file = || parse("spin = 20").expect("a file").args;
        assert_eq!(of(&["--spin", "0"]).over(file()).event_loop.spin_us(), 0);
        assert_eq!(of(&["--spin", "7"]).over(file()).event_loop.spin_us(), 7);
        assert_eq!(of(&[]).over(file()).event_loop.spin_us(), 20);
        let silent = parse("").expect("a file").args;
        assert_eq!(of(&[]).over(silent).event_loop.spin_us(), 0);
    }

    #[test]
    fn every_flag_but_a_few_is_a_key() {
        let command = MineArgs::augment_args(Command::new("mine"));
        for flag in command.get_arguments() {
            let Some(key) = flag.get_long() else { continue };
            // Of the wrong type for every flag.
            let error = parse(&format!("{key} = []")).err().expect("an error");
            let known = !error.contains("is no setting");
            assert_eq!(known, !NO_KEYS.contains(&key), "{error}");
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn errors_name_the_key() {
        for (text, named) in [
            ("threads = 0", "--threads"),
            ("threads = \"many\"", "--threads"),
            ("engine = \"gpu\"", "--engine"),
            ("cpu-affinity = \"both\"", "--cpu-affinity"),
            ("time-limit = \"soon\"", "--time-limit"),
            ("api = \"nowhere\"", "--api"),
            ("channel = \"group\"", "--channel"),
            ("ledger-sync = true", "--ledger"),
            ("roll = 1", "`roll`"),
            ("treads = 2", "`treads`"),
            (
                "url = \"a:1\"",
                "`url` is no setting; it belongs below [[pool]]",
            ),
            ("pool = 1", "[[pool]]"),
            ("[pool]\nurl = \"a:1\"", "[[pool]]"),
            ("[[pool]]\nurl = \"a:1\"", "user"),
            ("[[pool]]\nuser = \"me\"\nurl = 1", "3 | url = 1"),
            (
                "[[pool]]\nuser = \"me\"\nurl = \"a:1\"\npin = 1",
                "4 | pin = 1",
            ),
            ("[[pool]]\nurl = \"http://a:1\"\nuser = \"me\"", "url"),
            (
                "[[pool]]\nurl = \"a:1\"\nuser = \"me\"\npin = [\"00\"]",
                "pin",
            ),
            (
                "[[pool]]\nurl = \"stratum2+tcp://a:1\"\nuser = \"me\"",
                "url",
            ),
            ("[[pool]]\nurl = \"a:1\"\nuser = \"me\"\nport = 1", "port"),
            ("threads = ", "line 1"),
        ] {
            let error = parse(text).err().unwrap_or_else(|| panic!("{text}"));
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
