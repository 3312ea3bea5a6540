//! Carries the systemd steps out: starts a unit and waits for its job, changes its properties, ends it.
//!
//! Every wait has an end: [`ANSWER`] for a word from systemd, [`JOB`] for a unit to start or stop.

use std::time::{Duration, Instant};

use super::super::tree::Tree;
use super::bus::{Bus, Environment, Message, Method, Refusal, places, say};
use super::properties::Property;
use super::{Instance, SUBGROUP, Unit, Value};
use crate::sys::{self, Call, Error, cgroup};

/// How long systemd, or the bus before it, may take to say anything.
const ANSWER: Duration = Duration::from_secs(20);
/// How long a job may take. Starting a scope is nothing to do but to wait for one's turn.
const JOB: Duration = Duration::from_secs(30);
/// How long the end of an earlier unit of the same name is waited for.
const PREDECESSOR: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(50);

const SYSTEMD: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// What the steps of one container have between them.
#[derive(Debug, Default)]
pub struct Session {
    bus: Option<Systemd>,
    /// Collected, not yet sent.
    pub properties: Vec<Property>,
    /// The container's first process.
    pub init: i32,
    /// Whether the unit was started.
    pub started: bool,
}

impl Session {
    /// A session about a unit that was started, or is to be.
    pub fn of(started: bool) -> Self {
        Self { started, ..Self::default() }
    }

    /// Connects.
    pub fn connect(&mut self, of: Instance) -> sys::Result<()> {
        self.bus = Some(Systemd::connect(of)?);
        Ok(())
    }

    fn systemd(&mut self) -> sys::Result<&mut Systemd> {
        self.bus.as_mut().ok_or_else(|| Error::other(Call::Connect, "not connected to systemd"))
    }

    /// Starts the unit with the properties that were collected; a scope gets init.
    pub fn start(&mut self, unit: &Unit) -> sys::Result<()> {
        let mut properties = std::mem::take(&mut self.properties);
        if !unit.is_slice() {
            let pids = Value::Array("u".into(), vec![Value::U32(self.init as u32)]);
            properties.push(("PIDs".into(), pids));
        }
        let made = self.systemd()?.start(unit, &properties)?;
        // A slice that was there before is not ours to stop.
        self.started = made || unit.is_slice();
        Ok(())
    }

    /// Sees that init, or at least the cgroup, is where the steps after this one expect it.
    pub fn arrived(&self, unit: &Unit, tree: &Tree) -> sys::Result<()> {
        let elsewhere = |why: &str| {
            let place = &tree.place.mountpoint;
            let note = format!("systemd started {}, and {why} {place}/{}", unit.name, unit.cgroup);
            Err(Error::other(Call::Open, note))
        };
        if cgroup::open_dir(tree.mount(), &unit.cgroup).is_err() {
            return elsewhere("its cgroup is not");
        }
        let inside = tree.list_at(&format!("{}/cgroup.procs", unit.cgroup))?;
        if unit.is_slice() || inside.lines().any(|pid| pid == self.init.to_string()) {
            return Ok(());
        }
        elsewhere("init is not in")
    }

    /// The properties that were collected become those of the running unit, until it ends.
    pub fn set(&mut self, unit: &str) -> sys::Result<()> {
        let properties = std::mem::take(&mut self.properties);
        let body = vec![Value::Text(unit.to_owned()), Value::Bool(true), pairs(&properties)];
        let systemd = self.systemd()?;
        let done = systemd.call("SetUnitProperties", body).map(|_| ());
        done.map_err(|e| systemd.explain(e, &format!("cannot change the properties of {unit}")))
    }
}

/// Ends a unit that was started for a container; one that is gone is fine. Nobody is left in it.
pub fn release(unit: &Unit) -> sys::Result<()> {
    let what = format!("{} cannot be ended at the {} instance of systemd", unit.name, unit.of.name());
    let mut systemd = Systemd::connect(unit.of).map_err(|e| Error::other(e.call, format!("{what}: {e}")))?;
    if unit.is_slice() && !systemd.is_idle(unit) {
        return Ok(());
    }
    systemd.stop(&unit.name)
}

/// Has a process of ours taken into the container of a running unit, from wherever it is.
pub fn bring(unit: &Unit, pid: i32) -> sys::Result<()> {
    let what = format!("the {} instance of systemd takes no process into {}", unit.of.name(), unit.name);
    let mut systemd = Systemd::connect(unit.of).map_err(|e| Error::other(e.call, format!("{what}: {e}")))?;
    let pids = Value::Array("u".into(), vec![Value::U32(pid as u32)]);
    let body = vec![Value::Text(unit.name.clone()), Value::Text(format!("/{SUBGROUP}")), pids];
    let done = systemd.call("AttachProcessesToUnit", body).map(|_| ());
    done.map_err(|e| systemd.explain(e, &what))
}

/// An instance of systemd that answers.
#[derive(Debug)]
struct Systemd {
    bus: Bus,
}

impl Systemd {
    fn connect(of: Instance) -> sys::Result<Systemd> {
        let variable = |name: &str| std::env::var(name).ok();
        let environment = Environment {
            system: variable("DBUS_SYSTEM_BUS_ADDRESS"),
            session: variable("DBUS_SESSION_BUS_ADDRESS"),
            runtime: variable("XDG_RUNTIME_DIR"),
        };
        let places = places(of, &environment).map_err(|why| Error::other(Call::Connect, why))?;
        let mut systemd = Systemd { bus: Bus::connect(&places, ANSWER)? };
        systemd.subscribe().map_err(|e| systemd.explain(e, "it does not tell of its jobs"))?;
        Ok(systemd)
    }

    /// systemd tells of jobs only if somebody wants to hear of them.
    fn subscribe(&mut self) -> Result<(), Refusal> {
        if self.bus.is_bus() {
            self.bus.listen(SYSTEMD, MANAGER, "JobRemoved", Instant::now() + ANSWER)?;
        }
        match self.call("Subscribe", Vec::new()) {
            // On its own socket we may be subscribed already.
            Err(Refusal::Said(name, _)) if name.ends_with("AlreadySubscribed") => Ok(()),
            other => other.map(|_| ()),
        }
    }

    fn call(&mut self, member: &str, body: Vec<Value>) -> Result<Message, Refusal> {
        let method = Method { destination: SYSTEMD, path: PATH, interface: MANAGER, member };
        self.bus.call(method, body, Instant::now() + ANSWER)
    }

    fn explain(&self, refusal: Refusal, what: &str) -> Error {
        let error = say(self.bus.failure(refusal), ANSWER);
        Error::other(error.call, format!("{what}: {error}"))
    }

    /// False: there was such a slice already.
    fn start(&mut self, unit: &Unit, properties: &[Property]) -> sys::Result<bool> {
        let end = Instant::now() + PREDECESSOR;
        let cannot = format!("systemd does not start {}", unit.name);
        loop {
            let body = vec![
                Value::Text(unit.name.clone()),
                Value::Text("fail".into()),
                pairs(properties),
                Value::Array("(sa(sv))".into(), Vec::new()),
            ];
            match self.call("StartTransientUnit", body) {
                Ok(answer) => return self.finished(&answer, &unit.name).map(|()| true),
                Err(Refusal::Said(name, _)) if name == UNIT_EXISTS && unit.is_slice() => return Ok(false),
                Err(Refusal::Said(name, words)) if name == UNIT_EXISTS => {
                    self.make_way(&unit.name, &words, end)?;
                }
                Err(refusal) => return Err(self.explain(refusal, &cannot)),
            }
        }
    }

    /// A unit of the same name is there. One that has failed is forgotten, one that ends is waited for; one that lives is
    /// somebody else's.
    fn make_way(&mut self, name: &str, words: &str, end: Instant) -> sys::Result<()> {
        match self.state(name).as_deref() {
            Some("failed") => {
                // Gone in between is as good.
                let _ = self.call("ResetFailedUnit", vec![Value::Text(name.to_owned())]);
            }
            Some("active" | "activating" | "reloading") => {
                let note =
                    format!("{words}: it holds another container, or what one has left (systemctl status {name})");
                return Err(Error::other(Call::Connect, note));
            }
            _ => {}
        }
        if Instant::now() > end {
            let note = format!("{words}, and does not go away (systemctl status {name})");
            return Err(Error::other(Call::Connect, note));
        }
        std::thread::sleep(AGAIN);
        Ok(())
    }

    fn state(&mut self, name: &str) -> Option<String> {
        self.property(name, "org.freedesktop.systemd1.Unit", "ActiveState").and_then(|v| v.text().map(str::to_owned))
    }

    fn property(&mut self, unit: &str, interface: &str, name: &str) -> Option<Value> {
        let object = self.call("GetUnit", vec![Value::Text(unit.to_owned())]).ok()?;
        let path = object.body.first()?.text()?.to_owned();
        let interfaces = "org.freedesktop.DBus.Properties";
        let get = Method { destination: SYSTEMD, path: &path, interface: interfaces, member: "Get" };
        let body = vec![Value::Text(interface.to_owned()), Value::Text(name.to_owned())];
        match self.bus.call(get, body, Instant::now() + ANSWER).ok()?.body.pop()? {
            Value::Variant(value) => Some(*value),
            _ => None,
        }
    }

    /// Whether nobody lives in a slice, or in what is below it. `TasksCurrent` would not tell: it counts the dead too, until their
    /// parent has waited for them. No answer, or one too long to be read, is no reason to stop anything.
    fn is_idle(&mut self, unit: &Unit) -> bool {
        let answer = self.call("GetUnitProcesses", vec![Value::Text(unit.name.clone())]);
        matches!(answer.as_ref().map(|a| &a.body[..]), Ok([Value::Array(_, living)]) if living.is_empty())
    }

    /// Waits for the end of the job that an answer names. Only systemd's own word on it counts.
    fn finished(&mut self, answer: &Message, unit: &str) -> sys::Result<()> {
        let job = answer.body.first().and_then(Value::text).unwrap_or_default().to_owned();
        let end = Instant::now() + JOB;
        let removed = |m: &Message| {
            m.member == "JobRemoved"
                && m.interface == MANAGER
                && m.sender == answer.sender
                && m.body.get(1).and_then(Value::text) == Some(&job)
        };
        let signal = self.bus.signal(end, removed).map_err(|e| {
            let error = say(e, JOB);
            Error::other(error.call, format!("the job for {unit} does not end: {error}"))
        })?;
        match signal.body.get(3).and_then(Value::text) {
            Some("done") => Ok(()),
            result => {
                // Nobody else would clean it up.
                let _ = self.call("ResetFailedUnit", vec![Value::Text(unit.to_owned())]);
                let result = result.unwrap_or("nothing");
                let note =
                    format!("systemd could not do its job for {unit}: the result is {result:?} (journalctl -u {unit})");
                Err(Error::other(Call::Connect, note))
            }
        }
    }

    fn stop(&mut self, unit: &str) -> sys::Result<()> {
        let body = vec![Value::Text(unit.to_owned()), Value::Text("replace".into())];
        match self.call("StopUnit", body) {
            Ok(answer) => self.finished(&answer, unit)?,
            // It ended with its last process.
            Err(Refusal::Said(name, _)) if name == NO_SUCH_UNIT => return Ok(()),
            Err(refusal) => return Err(self.explain(refusal, &format!("systemd does not stop {unit}"))),
        }
        // Mostly it is gone with its end; if it has failed it would stay.
        let _ = self.call("ResetFailedUnit", vec![Value::Text(unit.to_owned())]);
        Ok(())
    }
}

/// Properties as systemd takes them.
fn pairs(properties: &[Property]) -> Value {
    let pair = |(name, value): &Property| {
        Value::Struct(vec![Value::Text(name.clone()), Value::Variant(Box::new(value.clone()))])
    };
    Value::Array("(sv)".into(), properties.iter().map(pair).collect())
}
