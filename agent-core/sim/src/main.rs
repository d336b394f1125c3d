//! The command: `sim`, or `cargo sim`, prints the table; a finding out of bounds ends it with 1.

mod heap;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;

use sim::scenario::{FULL, NIGHTLY, QUICK, Row, Setup};

#[global_allocator]
static HEAP: heap::Counting = heap::Counting::new();

const USAGE: &str = "\
usage: sim [--quick | --nightly] [--only NAME] [--size N] [--mix KIND] [--seed N]
       sim --script FILE

  --quick     what every commit must pass: two minutes of one core
  --nightly   what takes hours or more memory: printed instead of the table
  --only      rows of this name: change, loss, stalls, partition, storm, churn
  --size      rows of pools of this size
  --mix       rows of pools of this kind: full, leaf, mixed
  --seed      another history; the default is 1
  --script    plays a script and prints its transcript";

struct Options {
    rows: &'static [Row],
    only: Option<String>,
    size: Option<usize>,
    mix: Option<String>,
    seed: u64,
    script: Option<OsString>,
}

fn options() -> Result<Options, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options =
        Options { rows: FULL, only: None, size: None, mix: None, seed: 1, script: None };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("quick") => options.rows = QUICK,
            Long("nightly") => options.rows = NIGHTLY,
            Long("only") => options.only = Some(parser.value()?.string()?),
            Long("size") => options.size = Some(parser.value()?.parse()?),
            Long("mix") => options.mix = Some(parser.value()?.string()?),
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("script") => options.script = Some(parser.value()?),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    match options() {
        Ok(Options { script: Some(path), .. }) => play(&path),
        Ok(options) => table(&options),
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn play(path: &OsString) -> ExitCode {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{}: {error}", path.to_string_lossy());
            return ExitCode::FAILURE;
        }
    };
    match sim::script::run(&text) {
        Ok(transcript) => {
            print!("{transcript}");
            ExitCode::SUCCESS
        }
        Err((failure, transcript)) => {
            print!("{transcript}");
            eprintln!("{}: {failure}", path.to_string_lossy());
            ExitCode::FAILURE
        }
    }
}

/// Prints each finding as soon as it is there.
fn table(options: &Options) -> ExitCode {
    let setup = Setup { seed: options.seed, heap: || HEAP.held() };
    let wanted = |row: &&Row| {
        options.only.as_ref().is_none_or(|name| name == row.name)
            && options.size.is_none_or(|size| size == row.size)
            && options.mix.as_ref().is_none_or(|mix| *mix == row.mix.name())
    };
    println!("| pool | scenario | measured | value | must be | met |");
    println!("|---|---|---|---|---|---|");
    let (began, mut missed) = (Instant::now(), 0);
    for row in options.rows.iter().filter(wanted) {
        for finding in row.run(&setup) {
            let met = match (finding.met, finding.bound.is_empty()) {
                (true, true) => "",
                (true, false) => "yes",
                (false, _) => "NO",
            };
            missed += usize::from(!finding.met);
            let (pool, what) = (row.pool(), finding.what);
            let (value, bound) = (finding.value, finding.bound);
            println!("| {pool} | {} | {what} | {value} | {bound} | {met} |", row.name);
        }
    }
    println!("\nSeed {}, {} s. Not met: {missed}.", options.seed, began.elapsed().as_secs());
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
