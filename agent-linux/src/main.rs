//! The `reeve` command.

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: agent_linux::memory::large::Mapped = agent_linux::memory::large::Mapped;

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(agent_linux::cli::run())
}
