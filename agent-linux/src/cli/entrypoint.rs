//! The container's first process: what the entry point of Consul's image does with environment
//! variables, so that `docker run` lines for that image work unchanged.
//!
//! | variable | effect |
//! |---|---|
//! | `CONSUL_BIND_INTERFACE` | `-bind=` the interface's first IPv4 address |
//! | `CONSUL_CLIENT_INTERFACE` | `-client=` the interface's first IPv4 address |
//! | `CONSUL_BIND`, `CONSUL_CLIENT` | such a flag, given whole |
//! | `CONSUL_LOCAL_CONFIG` | written to `local.json` in the configuration directory |
//! | `CONSUL_DATA_DIR`, `CONSUL_CONFIG_DIR` | in place of `/consul/data`, `/consul/config` |
//!
//! Users are not changed: run the container as the user wanted. Source:
//! <https://hub.docker.com/r/hashicorp/consul>.

use std::path::Path;

use crate::config::template;

/// Word that selects this in place of a verb.
pub(super) const VERB: &str = "docker-entrypoint";

/// Name of the file that holds `CONSUL_LOCAL_CONFIG`.
const LOCAL_CONFIG: &str = "local.json";

/// What is to be run, and written before.
#[derive(PartialEq, Eq, Debug)]
struct Plan {
    args: Vec<String>,
    notes: Vec<String>,
    /// Directories that the agent will expect.
    dirs: Vec<String>,
    local_config: Option<(String, String)>,
}

/// Reads the environment, writes what is to be written, answers the arguments to run.
pub(super) fn prepare(
    args: &[String],
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<String>, String> {
    let address =
        |interface: &str| template::interface_ipv4(interface).map_err(|error| error.to_string());
    let plan = plan(args, env, &address)?;
    for note in &plan.notes {
        println!("{note}");
    }
    for dir in &plan.dirs {
        std::fs::create_dir_all(dir).map_err(|error| format!("cannot create {dir}: {error}"))?;
    }
    if let Some((dir, text)) = &plan.local_config {
        let path = Path::new(dir).join(LOCAL_CONFIG);
        std::fs::create_dir_all(dir)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(plan.args)
}

/// Works out what is to be run; `address` finds an interface's address.
fn plan(
    args: &[String],
    env: &dyn Fn(&str) -> Option<String>,
    address: &dyn Fn(&str) -> Result<Option<String>, String>,
) -> Result<Plan, String> {
    let env = |name: &str| env(name).filter(|value| !value.is_empty());
    let mut notes = Vec::new();
    let mut flag = |whole: &str, interface: &str, name: &str| -> Result<Option<String>, String> {
        if let Some(flag) = env(whole) {
            return Ok(Some(flag));
        }
        let Some(interface) = env(interface) else { return Ok(None) };
        let Some(found) = address(&interface)? else {
            return Err(format!("Could not find IP for interface '{interface}', exiting"));
        };
        notes.push(format!(
            "==> Found address '{found}' for interface '{interface}', setting {name} option..."
        ));
        Ok(Some(format!("-{name}={found}")))
    };
    let bind = flag("CONSUL_BIND", "CONSUL_BIND_INTERFACE", "bind")?;
    let client = flag("CONSUL_CLIENT", "CONSUL_CLIENT_INTERFACE", "client")?;
    let or = |name: &str, default: &str| env(name).unwrap_or_else(|| default.to_owned());
    let data_dir = or("CONSUL_DATA_DIR", "/consul/data");
    let config_dir = or("CONSUL_CONFIG_DIR", "/consul/config");
    let local_config = env("CONSUL_LOCAL_CONFIG").map(|text| (config_dir.clone(), text));

    let mut args = args.to_vec();
    // `docker run image consul agent ..` names the program as well.
    if matches!(args.first().map(String::as_str), Some("consul" | "reeve")) {
        args.remove(0);
    }
    let mut dirs = Vec::new();
    if args.first().is_some_and(|first| first == "agent") {
        // An image from scratch may hold neither.
        dirs = vec![data_dir.clone(), config_dir.clone()];
        let mut given = vec![format!("-data-dir={data_dir}"), format!("-config-dir={config_dir}")];
        for flags in [bind, client].into_iter().flatten() {
            given.extend(flags.split_whitespace().map(str::to_owned));
        }
        args.splice(1..1, given);
    }
    Ok(Plan { args, notes, dirs, local_config })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str], env: &[(&str, &str)]) -> Result<Plan, String> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let env = |name: &str| {
            env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let address = |interface: &str| Ok((interface == "eth0").then(|| "10.0.0.9".to_owned()));
        plan(&args, &env, &address)
    }

    #[test]
    fn an_agent_gets_directories_and_addresses() {
        let env = [("CONSUL_BIND_INTERFACE", "eth0"), ("CONSUL_CLIENT", "-client=0.0.0.0")];
        let plan = run(&["agent", "-server", "-node=a"], &env).unwrap();
        let want = [
            "agent",
            "-data-dir=/consul/data",
            "-config-dir=/consul/config",
            "-bind=10.0.0.9",
            "-client=0.0.0.0",
            "-server",
            "-node=a",
        ];
        assert_eq!(plan.args, want);
        assert_eq!(plan.notes.len(), 1);
    }

    #[test]
    fn directories_and_local_configuration_come_from_the_environment() {
        let env = [
            ("CONSUL_DATA_DIR", "/d"),
            ("CONSUL_CONFIG_DIR", "/c"),
            ("CONSUL_LOCAL_CONFIG", "{\"ui\":true}"),
        ];
        let plan = run(&["consul", "agent", "-dev"], &env).unwrap();
        assert_eq!(plan.args, ["agent", "-data-dir=/d", "-config-dir=/c", "-dev"]);
        assert_eq!(plan.local_config, Some(("/c".to_owned(), "{\"ui\":true}".to_owned())));
    }

    #[test]
    fn other_verbs_run_as_they_are() {
        assert_eq!(run(&["members", "-wan"], &[]).unwrap().args, ["members", "-wan"]);
        let empty = run(&[], &[]).unwrap();
        assert!(empty.args.is_empty() && empty.dirs.is_empty());
    }

    #[test]
    fn an_interface_without_address_stops() {
        let fault = run(&["agent"], &[("CONSUL_CLIENT_INTERFACE", "eth9")]).unwrap_err();
        assert_eq!(fault, "Could not find IP for interface 'eth9', exiting");
    }
}
