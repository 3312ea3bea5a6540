//! Where a bus is found: the environment's words for it, and the places that are meant where it says nothing. Pure.

use crate::sys::stream::Address;

/// Whose systemd: its addresses differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Instance {
    /// The host's.
    System,
    /// That of the calling user.
    User,
}

impl Instance {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Instance::System => "system",
            Instance::User => "user",
        }
    }
}

/// One place to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The socket.
    pub address: Address,
    /// Whether a bus listens there, which wants to be greeted; else systemd itself does.
    pub bus: bool,
}

/// What the environment says.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// DBUS_SYSTEM_BUS_ADDRESS
    pub system: Option<String>,
    /// DBUS_SESSION_BUS_ADDRESS
    pub session: Option<String>,
    /// XDG_RUNTIME_DIR
    pub runtime: Option<String>,
}

/// The places to try, in order, or what is missing. systemd's own socket comes last: it is there when the bus is not.
pub fn places(instance: Instance, environment: &Environment) -> Result<Vec<Place>, String> {
    let set = |variable: &Option<String>| variable.clone().filter(|text| !text.is_empty());
    let path = |path: String, bus| Place { address: Address::Path(path), bus };
    match instance {
        Instance::System => {
            if let Some(text) = set(&environment.system) {
                return parse(&text).map_err(|e| format!("DBUS_SYSTEM_BUS_ADDRESS={text}: {e}"));
            }
            Ok(vec![path("/run/dbus/system_bus_socket".into(), true), path("/run/systemd/private".into(), false)])
        }
        Instance::User => {
            let runtime = set(&environment.runtime);
            let mut all = match (set(&environment.session), &runtime) {
                (Some(text), _) => parse(&text).map_err(|e| format!("DBUS_SESSION_BUS_ADDRESS={text}: {e}"))?,
                (None, Some(dir)) => vec![path(format!("{dir}/bus"), true)],
                (None, None) => {
                    return Err("neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set, so the user's systemd \
                         cannot be found; log in with a session (loginctl), or set XDG_RUNTIME_DIR=/run/user/UID"
                        .to_owned());
                }
            };
            all.extend(runtime.map(|dir| path(format!("{dir}/systemd/private"), false)));
            Ok(all)
        }
    }
}

/// `unix:path=/run/dbus/x,guid=…;unix:abstract=…`: those of them that we can use.
fn parse(text: &str) -> Result<Vec<Place>, String> {
    let mut places = Vec::new();
    for one in text.split(';').filter(|one| !one.is_empty()) {
        let Some(("unix", options)) = one.split_once(':') else { continue };
        for (key, value) in options.split(',').filter_map(|option| option.split_once('=')) {
            let value = unescape(value).ok_or("a % without two hexadecimal digits")?;
            match key {
                "path" => places.push(Place { address: Address::Path(value), bus: true }),
                "abstract" => places.push(Place { address: Address::Abstract(value), bus: true }),
                _ => {}
            }
        }
    }
    if places.is_empty() { Err("expected unix:path=… or unix:abstract=…".to_owned()) } else { Ok(places) }
}

/// `%2f` and the like.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(instance: Instance, environment: &Environment) -> Result<Vec<String>, String> {
        let text = |place: &Place| match &place.address {
            Address::Path(path) => format!("{path}{}", if place.bus { "" } else { " (no bus)" }),
            Address::Abstract(name) => format!("@{name}"),
        };
        places(instance, environment).map(|all| all.iter().map(text).collect())
    }

    #[test]
    fn the_usual_places() {
        let nothing = Environment::default();
        assert_eq!(
            found(Instance::System, &nothing).unwrap(),
            ["/run/dbus/system_bus_socket", "/run/systemd/private (no bus)"]
        );
        let runtime = Environment { runtime: Some("/run/user/7".into()), ..Environment::default() };
        assert_eq!(
            found(Instance::User, &runtime).unwrap(),
            ["/run/user/7/bus", "/run/user/7/systemd/private (no bus)"]
        );
        let session = Environment { session: Some("unix:abstract=x%2fy,guid=1;unix:path=/z".into()), ..runtime };
        assert_eq!(found(Instance::User, &session).unwrap(), ["@x/y", "/z", "/run/user/7/systemd/private (no bus)"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let said = found(Instance::User, &Environment::default()).unwrap_err();
        assert!(said.contains("DBUS_SESSION_BUS_ADDRESS") && said.contains("XDG_RUNTIME_DIR"), "{said}");
        for bad in ["tcp:host=x", "unix:", "unix:path=%zz", "nonsense"] {
            let environment = Environment { system: Some(bad.into()), ..Environment::default() };
            let said = found(Instance::System, &environment).unwrap_err();
            assert!(said.starts_with("DBUS_SYSTEM_BUS_ADDRESS="), "{said}");
        }
    }
}
