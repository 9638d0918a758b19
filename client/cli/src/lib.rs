#![doc = include_str!("../README.md")]

mod arguments;
mod bytes_as_text;
mod command;
mod exit;
mod format;
mod input;
mod interrupt;
mod output;
mod place;
mod progress;

use std::process::ExitCode;

use clap::Parser;

pub use arguments::Arguments;
use arguments::Command;
use exit::Failure;

/// Runs the program on the arguments of the process.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    match dispatch(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn dispatch(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { command, broker, output } = arguments;
    match command {
        Command::Topic { command } => command::topic::run(&broker, output, command),
        Command::Config { command } => command::config::run(&broker, output, command),
        Command::Records { command } => command::records::run(&broker, output, command),
        Command::Group { command } => command::group::run(&broker, output, command),
        Command::Produce(options) => command::produce::run(&broker, output, &options),
        Command::Consume(options) => command::consume::run(&broker, output, &options),
        Command::Status => command::status::run(&broker, output),
        Command::Bench { command } => command::bench::run(&broker, output, &command),
        Command::Log { command } => command::log::run(output, &command),
        Command::Completion { shell } => command::completion::run(shell),
    }
}
