//! A verb in the small against the agent that the workspace has built, and what is refused.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const BENCH: &str = env!("CARGO_BIN_EXE_bench");

fn bench(words: &[&str]) -> Output {
    Command::new(BENCH).args(words).output().expect("bench runs")
}

/// The agent beside this program, as `cargo test --workspace` builds it.
fn agent() -> Option<PathBuf> {
    let path = Path::new(BENCH).with_file_name("reeve");
    if !path.exists() {
        println!("skipped: no {}, build agent-linux first", path.display());
        return None;
    }
    Some(path)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_verb_leaves_text_json_and_a_plot_and_no_folder_of_its_own() {
    let Some(agent) = agent() else { return };
    let out = std::env::temp_dir().join(format!("reeve-smoke-{}", std::process::id()));
    let (agent, folder) = (agent.to_string_lossy(), out.to_string_lossy());
    let child = Command::new(BENCH)
        .args(["dns", "--alone", "--agent", &agent, "--seconds", "1", "--connections", "2"])
        .args(["--sizes", "3", "--servers", "1", "--out", &folder])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("bench runs");
    let pid = child.id();
    let done = child.wait_with_output().expect("bench ends");
    assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
    let table = text(&done.stdout);
    assert!(table.contains("DNS SRV, 3 instances") && table.contains("UDP echo"), "{table}");
    let json = std::fs::read_to_string(out.join("dns.json")).expect("JSON");
    assert!(json.contains("\"CPU us/request\""), "{json}");
    let plot = std::fs::read_to_string(out.join("dns-cpu.svg")).expect("a plot");
    assert!(plot.starts_with("<svg") && plot.contains("DNS NXDOMAIN"), "{plot}");
    std::fs::remove_dir_all(&out).expect("removed");
    assert!(!std::env::temp_dir().join(format!("reeve-bench-{pid}")).exists());
}

#[test]
fn what_is_missing_is_said() {
    let unknown = bench(&["speed"]);
    assert!(!unknown.status.success() && text(&unknown.stderr).contains("unknown verb speed"));
    let nobody = bench(&["kv", "--alone"]);
    assert!(!nobody.status.success() && text(&nobody.stderr).contains("give --agent PATH"));
    let nowhere = bench(&["kv", "--alone", "--agent", "/nowhere/agent"]);
    assert!(text(&nowhere.stderr).contains("/nowhere/agent"), "{}", text(&nowhere.stderr));
    let help = bench(&["--help"]);
    let help = text(&help.stdout);
    assert!(
        ["kv", "watch", "store", "all"].iter().all(|verb| help.contains(&format!("  {verb} ")))
    );
}
