//! The command as a process: verbs that need no agent.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Makes a command whose environment names no agent.
fn reeve(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reeve"));
    command.args(args).env_clear().env("CONSUL_HTTP_ADDR", "127.77.1.1:1");
    command
}

/// Runs a command; answers exit code, output and errors.
fn run(args: &[&str]) -> (Option<i32>, String, String) {
    told(&reeve(args).output().expect("the command starts"))
}

/// Reads what a process told.
fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("the command speaks UTF-8");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn exit_codes_and_streams_are_consuls() {
    for (args, code) in [
        (["version"].as_slice(), 0),
        (&["--version"], 0),
        (&["--help"], 0),
        (&["kv", "get", "-h"], 0),
        (&["keygen"], 0),
    ] {
        let (got, output, errors) = run(args);
        assert_eq!((got, errors.as_str()), (Some(code), ""), "{args:?}");
        assert!(!output.is_empty(), "{args:?}");
    }
    for (args, code) in [
        ([].as_slice(), 127),
        (&["frob"], 127),
        (&["kv"], 1),
        (&["members", "-frob"], 1),
        (&["members"], 1),
        (&["agent", "-frob"], 1),
        (&["agent", "-log-level=frob", "-dev"], 1),
        (&["validate", "/nonexistent"], 1),
    ] {
        let (got, output, errors) = run(args);
        assert_eq!((got, output.as_str()), (Some(code), ""), "{args:?}");
        assert!(!errors.is_empty(), "{args:?}");
    }
}

#[test]
fn shells_are_taught_to_complete_and_forget_it_again() {
    let home = std::env::temp_dir().join(format!("reeve-home-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(home.join(".config/fish")).unwrap();
    let (bash, zsh) = (home.join(".bashrc"), home.join(".zshrc"));
    let fish = home.join(".config/fish/completions/reeve.fish");
    std::fs::write(&bash, "PS1=''").unwrap();
    std::fs::write(&zsh, "# mine\n").unwrap();
    let ask = |word: &str| told(&reeve(&[word]).env("HOME", &home).output().unwrap());
    assert_eq!(ask("-autocomplete-install").0, Some(0));
    let (code, _, errors) = ask("-autocomplete-install");
    assert_eq!(code, Some(1));
    assert!(
        errors.starts_with("Error executing CLI: 3 errors occurred:\n\t* already installed in")
    );
    for (shell, file) in [("bash", &bash), ("zsh", &zsh), ("fish", &fish)] {
        match Command::new(shell).arg("-n").arg(file).output() {
            Ok(output) => assert!(output.status.success(), "{shell}: {output:?}"),
            Err(error) => eprintln!("{shell} is not here to read its file: {error}"),
        }
    }
    if Command::new("bash").arg("--version").output().is_ok() {
        complete_in_bash(&home);
    }
    assert_eq!(ask("--autocomplete-uninstall").0, Some(0));
    assert_eq!(std::fs::read_to_string(&bash).unwrap(), "PS1=''\n");
    assert_eq!(std::fs::read_to_string(&zsh).unwrap(), "# mine\n");
    assert!(!fish.exists());
    assert_eq!(ask("--autocomplete-uninstall").0, Some(1));
    std::fs::remove_dir_all(&home).unwrap();
    let (code, _, errors) = ask("-autocomplete-install");
    assert_eq!(code, Some(1));
    assert!(errors.contains("Did not find any shells to install"), "{errors}");
}

/// Types half words and tabs into a bash that has the start-up file, with a `reeve` that only
/// tells its arguments.
fn complete_in_bash(home: &std::path::Path) {
    // A session of its own: an interactive shell would take the terminal of who runs the tests.
    let mut bash = Command::new("setsid");
    bash.args(["--wait", "bash", "--noprofile", "-i"]).env("HOME", home).env("TERM", "dumb");
    bash.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = bash.spawn().expect("setsid and bash start");
    let typed = "reeve() { echo \"told: $*\"; }\nreeve kv exp\tx\nreeve members -det\t\nexit\n";
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(typed.as_bytes()).expect("typed");
    drop(input);
    let (_, output, _) = told(&child.wait_with_output().expect("the shell ends"));
    assert!(output.contains("told: kv export x\n"), "{output}");
    assert!(output.contains("told: members -detailed"), "{output}");
}

#[test]
fn files_are_validated() {
    let dir = std::env::temp_dir().join(format!("reeve-cli-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&dir).unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = file("good.hcl", "data_dir = \"/nonexistent/x\" bind_addr = \"127.0.0.1\"");
    let bad = file("bad.json", "{\"foo\": 1}");
    let (code, output, _) = run(&["validate", &good]);
    assert_eq!((code, output.as_str()), (Some(0), "Configuration is valid!\n"));
    let (code, output, _) = run(&["validate", "-quiet", &good]);
    assert_eq!((code, output.as_str()), (Some(0), ""));
    let (code, _, errors) = run(&["validate", &good, &bad]);
    let want = format!(
        "Config validation failed: failed to parse {bad}: 1 error occurred:\n\t* invalid config \
         key foo\n\n\n"
    );
    assert_eq!((code, errors), (Some(1), want));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_closed_pipe_ends_a_verb_without_a_panic() {
    let mut command = reeve(&["--help"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let (_, _, errors) = told(&child.wait_with_output().unwrap());
    assert_eq!(errors, "");
}

#[test]
fn data_is_read_from_standard_input() {
    let mut command = reeve(&["kv", "import", "-"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{").unwrap();
    let (code, _, errors) = told(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(1));
    assert!(errors.starts_with("Cannot unmarshal data: "), "{errors}");
}

#[test]
fn the_containers_first_process_reads_the_environment() {
    let dir = std::env::temp_dir().join(format!("reeve-entry-{}", uuid::Uuid::new_v4()));
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let mut command = reeve(&["docker-entrypoint", "agent", "-bind=127.77.1.2"]);
    command
        .env("CONSUL_DATA_DIR", path("data"))
        .env("CONSUL_CONFIG_DIR", path("config"))
        .env("CONSUL_LOCAL_CONFIG", "{\"frob\": true}")
        .env("CONSUL_CLIENT_INTERFACE", "lo");
    let (code, output, errors) = told(&command.output().unwrap());
    assert_eq!(code, Some(1));
    assert!(output.starts_with("==> Found address '127.0.0.1' for interface 'lo', setting client"));
    assert!(errors.contains("local.json: 1 error occurred:\n\t* invalid config key frob"));
    std::fs::remove_dir_all(&dir).unwrap();

    let mut command = reeve(&["docker-entrypoint", "agent"]);
    let (code, _, errors) = told(&command.env("CONSUL_BIND_INTERFACE", "frob0").output().unwrap());
    assert_eq!(code, Some(1));
    assert_eq!(errors, "Could not find IP for interface 'frob0', exiting\n");
}
