//! Thousands of devices in a process for each processor: a process has an allowance of open files,
//! and a device takes two. The parent tells each by lines what is to be, and asks how far it is.

use crate::picture::guarded;
use crate::pool_yard::{Shared, Yard};
use std::io::{BufRead, BufReader, Write, stdin};
use std::net::Ipv4Addr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The verb that is such a process; not for people.
pub(crate) const VERB: &str = "crowd";

/// Says that the devices are made.
const READY: &str = "ready";

/// Running devices; they end with the value.
pub(crate) struct Crowd {
    parts: Vec<Part>,
}

/// A process: each has every so-manieth device.
struct Part {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// How far the devices are.
#[derive(Clone, Copy, Default)]
pub(crate) struct Progress {
    /// How many have a contact.
    pub(crate) joined: usize,
    /// How many are registered.
    pub(crate) registered: usize,
    /// How late the latest step was since this was last asked. Devices that are a second late take
    /// it that they, not others, were away: then they find no failures, and the machine is what was
    /// measured.
    pub(crate) late: Duration,
}

impl Crowd {
    /// Starts devices on addresses from `first` on, which join through one of the servers each,
    /// evenly within `span`.
    ///
    /// # Errors
    ///
    /// If an address is taken, or files are not enough.
    pub(crate) fn start(
        count: usize,
        first: Ipv4Addr,
        servers: &[Ipv4Addr],
        span: Duration,
    ) -> Result<Crowd, String> {
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        let servers: Vec<String> = servers.iter().map(Ipv4Addr::to_string).collect();
        let (servers, span) = (servers.join(" "), span.as_micros());
        let mut crowd = Crowd { parts: Vec::new() };
        for at in 0..all {
            let mut part = Part::spawn()?;
            part.tell(&format!("{at} {all} {count} {first} {span} {servers}"))?;
            crowd.parts.push(part);
        }
        for part in &mut crowd.parts {
            let answer = part.hear()?;
            if answer != READY {
                return Err(answer);
            }
        }
        Ok(crowd)
    }

    fn tell(&mut self, line: &str) -> Result<(), String> {
        self.parts.iter_mut().try_for_each(|part| part.tell(line))
    }

    /// Lets the devices connect to servers.
    ///
    /// # Errors
    ///
    /// If a process has ended.
    pub(crate) fn call(&mut self) -> Result<(), String> {
        self.tell("call")
    }

    /// Cuts the power of all devices from this number on.
    ///
    /// # Errors
    ///
    /// If a process has ended.
    pub(crate) fn cut(&mut self, living: usize) -> Result<(), String> {
        let all = self.parts.len();
        for (at, part) in self.parts.iter_mut().enumerate() {
            part.tell(&format!("living {}", (living + all - 1 - at) / all))?;
        }
        Ok(())
    }

    /// Tells how far they are.
    ///
    /// # Errors
    ///
    /// If a process has ended.
    pub(crate) fn progress(&mut self) -> Result<Progress, String> {
        self.tell("progress")?;
        let mut sum = Progress::default();
        for part in &mut self.parts {
            let line = part.hear()?;
            let numbers: Result<Vec<usize>, _> = line.split(' ').map(str::parse).collect();
            let Ok(&[joined, registered, late]) = numbers.as_deref() else {
                return Err(format!("the devices say {line:?}"));
            };
            sum.joined += joined;
            sum.registered += registered;
            sum.late = sum.late.max(Duration::from_micros(late as u64));
        }
        Ok(sum)
    }

    /// CPU time of all of them.
    pub(crate) fn cpu_ns(&self) -> u64 {
        self.parts.iter().map(|part| crate::process::cpu_ns(part.child.id())).sum()
    }
}

impl Part {
    fn spawn() -> Result<Part, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let words = guarded(&program);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(VERB).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", words[0]))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => {
                Ok(Part { child, input, output: BufReader::new(output) })
            }
            _ => Err("a process without pipes".into()),
        }
    }

    fn tell(&mut self, line: &str) -> Result<(), String> {
        writeln!(self.input, "{line}").map_err(|error| format!("the devices are gone: {error}"))
    }

    fn hear(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(0) => Err("the devices are gone".into()),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is such a process, until its input ends.
///
/// # Errors
///
/// If the first line is not what a parent says.
pub(crate) fn serve() -> Result<(), String> {
    let mut lines = stdin().lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let yard = match yard(&first).ok_or("not started by a bench")? {
        Ok(yard) => yard,
        Err(error) => {
            println!("{error}");
            return Ok(());
        }
    };
    let shared = Arc::new(Shared::default());
    shared.living.store(yard.len(), Ordering::Relaxed);
    let told = Arc::clone(&shared);
    let thread = std::thread::spawn(move || yard.run(&told));
    println!("{READY}");
    for line in lines {
        if thread.is_finished() {
            return thread.join().map_err(|_| "a panic".to_owned())?.map(|never| match never {});
        }
        match line.split_once(' ') {
            None if line == "call" => shared.calling.store(true, Ordering::Relaxed),
            Some(("living", number)) => {
                let living = number.parse().map_err(|_| format!("{line:?}"))?;
                shared.living.store(living, Ordering::Relaxed);
            }
            _ => {
                let of = |number: &std::sync::atomic::AtomicUsize| number.load(Ordering::Relaxed);
                let late = shared.late.swap(0, Ordering::Relaxed);
                println!("{} {} {late}", of(&shared.joined), of(&shared.registered));
            }
        }
    }
    Ok(())
}

/// Makes the devices that a parent's first line asks for; nothing if it is none.
fn yard(line: &str) -> Option<Result<Yard, String>> {
    let mut words = line.split(' ');
    let mut number = || words.next()?.parse::<usize>().ok();
    let share = (number()?, number()?, number()?);
    let first = words.next()?.parse().ok()?;
    let span = Duration::from_micros(words.next()?.parse().ok()?);
    let servers: Option<Vec<Ipv4Addr>> = words.map(|word| word.parse().ok()).collect();
    let servers = servers.filter(|servers| !servers.is_empty() && share.1 > 0)?;
    Some(Yard::with_devices(share, first, &servers, span))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parents_first_line_makes_its_share_of_the_devices() {
        let yard = yard("1 2 5 127.101.0.0 1000 127.0.0.1 127.0.0.2").expect("a line");
        assert_eq!(yard.expect("addresses").len(), 2);
        for line in ["", "1 0 5 127.101.0.0 1000 127.0.0.1", "1 2 5 127.101.0.0 1000 x"] {
            assert!(super::yard(line).is_none(), "{line}");
        }
    }
}
