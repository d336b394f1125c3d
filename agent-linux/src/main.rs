//! The `reeve` command.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(agent_linux::cli::run())
}
