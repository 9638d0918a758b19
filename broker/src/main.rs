//! `foliod`: the broker as a daemon.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use folio_broker::config::{ConfigError, Layers, Loaded};
use folio_broker::{Broker, Outcome};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The Folio broker.
///
/// Without any option it listens on 127.0.0.1:9092 and keeps its data in ./folio-data.
#[derive(Debug, Parser)]
#[command(name = "foliod", version, after_help = EXAMPLES)]
struct Arguments {
    /// Addresses to accept connections on, separated by commas
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Where Kafka's clients are told to connect, one for each address or one for all; without it, the address that
    /// they came by
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// The directory of the data; created when missing
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// A configuration file; without it FOLIOD_CONFIG may name one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set any key; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Show what holds and where it came from, and exit
    #[arg(long)]
    print_config: bool,
    /// Exit with 0 if the configuration is valid, with 2 if not
    #[arg(long)]
    check_config: bool,
}

const EXAMPLES: &str = "Examples:
  foliod
  foliod --listen 127.0.0.1:9093 --data-dir /var/lib/folio
  foliod --listen 0.0.0.0:9092 --advertise broker.example:9092
  foliod --set topic.durability=os --set topic.retention.ms=3600000
  FOLIOD_DATA_DIR=/var/lib/folio foliod --print-config

Exit codes: 0 stopped, 1 could not start, 2 wrong usage or configuration, 70 the data directory failed.";

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const DATA_DIRECTORY_FAILED: u8 = 70;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(tracing::Level::INFO)
        // Of a stderr that takes nothing there is nobody to tell.
        .log_internal_errors(false)
        .init();
    let loaded = match load(&arguments) {
        Ok(loaded) => loaded,
        Err(error) => {
            say(format_args!("foliod: {error}"));
            return ExitCode::from(USAGE);
        }
    };
    for unknown in &loaded.unknown_variables {
        tracing::warn!("unknown variable {}; did you mean {}?", unknown.name, unknown.nearest);
    }
    if arguments.check_config {
        return ExitCode::SUCCESS;
    }
    if arguments.print_config {
        // A reader that has seen enough closes the pipe: that is no failure.
        let _ = std::io::stdout().write_all(loaded.print().as_bytes());
        return ExitCode::SUCCESS;
    }
    run(loaded)
}

fn load(arguments: &Arguments) -> Result<Loaded, ConfigError> {
    let mut flags = Vec::new();
    for pair in &arguments.set {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        flags.push((key.trim().to_owned(), value.trim().to_owned()));
    }
    flags.extend(arguments.listen.clone().map(|value| ("listen".to_owned(), value)));
    flags.extend(arguments.advertise.clone().map(|value| ("advertise".to_owned(), value)));
    flags.extend(arguments.data_dir.clone().map(|value| ("data.dir".to_owned(), value)));
    Layers { file: arguments.config.clone(), environment: std::env::vars().collect(), flags }.load()
}

fn run(loaded: Loaded) -> ExitCode {
    let data_dir = loaded.config.data_dir.display().to_string();
    let mut signals = match Signals::new([SIGINT, SIGTERM]) {
        Ok(signals) => signals,
        Err(error) => return failed(&format!("cannot listen for signals: {error}")),
    };
    // Before there are threads: they take the mask of signals from this one.
    if loaded.config.sigbus_handler
        && let Err(error) = folio_mapped::guard_against_sigbus()
    {
        return failed(&format!("cannot handle SIGBUS (sigbus.handler): {error}"));
    }
    let broker = match Broker::start(loaded.config) {
        Ok(broker) => broker,
        Err(error) => return failed(&error.to_string()),
    };
    let addresses: Vec<String> = broker.local_addrs().iter().map(ToString::to_string).collect();
    let started = broker.started();
    let millis = |took: Duration| took.as_secs_f64() * 1000.0;
    let (took, syncs) = (millis(started.took), started.syncs);
    say(format_args!(
        "foliod {} started in {took:.1} ms ({} syncs: {:.1} ms), listening on {}, data in {data_dir} ({})",
        env!("CARGO_PKG_VERSION"),
        syncs.count,
        millis(syncs.took),
        addresses.join(", "),
        started.recovered
    ));
    let handle = broker.shutdown_handle();
    let ends = move || {
        for _ in signals.forever() {
            handle.shutdown();
        }
    };
    if let Err(error) = std::thread::Builder::new().name("folio-signals".to_owned()).spawn(ends) {
        broker.shutdown();
        let _ = broker.wait();
        return failed(&format!("no thread can listen for signals: {error}"));
    }
    match broker.wait() {
        Outcome::Clean => ExitCode::SUCCESS,
        Outcome::Unclean { reason } => {
            say(format_args!(
                "foliod: stopped without the clean mark: {reason}; the next start checks the tails"
            ));
            ExitCode::SUCCESS
        }
        Outcome::Failed { file, error } => {
            let file = file.map_or_else(|| data_dir.clone(), |file| file.display().to_string());
            say(format_args!("foliod: the data directory failed: {file}: {error}"));
            ExitCode::from(DATA_DIRECTORY_FAILED)
        }
        outcome => failed(&format!("{outcome:?}")),
    }
}

fn failed(why: &str) -> ExitCode {
    say(format_args!("foliod: {why}"));
    ExitCode::from(FAILED)
}

/// A line to stderr. Whoever read it may be gone, and that is no reason to end (`eprintln!` would panic).
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
