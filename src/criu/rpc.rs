//! CRIU's messages: what is asked, what is answered. The numbers of the fields are those of its `rpc.proto`, which keeps them
//! for ever.

use super::wire::{self, Writer};
use super::{CgroupMode, Choices, PageServer};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Save everything.
    Dump = 1,
    /// Bring it back.
    Restore = 2,
    /// Save the memory only, and go on.
    PreDump = 4,
}

impl Kind {
    /// The name that callers know from errors.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Dump => "DUMP",
            Kind::Restore => "RESTORE",
            Kind::PreDump => "PRE_DUMP",
        }
    }
}

/// The type of a notification and of the answer to it.
const NOTIFY: i64 = 6;

/// Seconds that processes may take to stand still, and to die; CRIU's own ten are too few on a busy machine.
const PATIENCE: i64 = 30;

/// A request, with all that CRIU is told beside the caller's choices.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is asked for.
    pub kind: Kind,
    /// The caller's choices.
    pub choices: Choices,
    /// The directory of images: a descriptor of ours.
    pub images: i32,
    /// The directory of the log and of working files: a descriptor of ours.
    pub work: i32,
    /// The log's name in it.
    pub log: &'static str,
    /// To save: init's pid.
    pub pid: Option<i32>,
    /// To bring back: the root, a mount point where CRIU is.
    pub root: Option<String>,
    /// Mounts that come from outside. To save: where it is, what it is called. To bring back: what it is called, where on the
    /// host its source is.
    pub mounts: Vec<(String, String)>,
    /// Other things from outside, in CRIU's words: `net[4026531840]:name`, `file[1f:2a]`.
    pub external: Vec<String>,
    /// What CRIU gets from us in their place: the name, the number of the descriptor there.
    pub inherit: Vec<(String, i32)>,
    /// Namespaces that are joined and not brought back: kind, file.
    pub join: Vec<(&'static str, String)>,
    /// Where the cgroups are now: controllers, path from the hierarchy's root.
    pub cgroups: Vec<(String, String)>,
    /// The freezer of the container.
    pub freezer: Option<String>,
    /// Whether the container has no cgroups that are CRIU's business.
    pub no_cgroups: bool,
    /// Whether we want to hear how far it is; of a restore we always do.
    pub notify: bool,
}

impl Request {
    /// A request without anything but the caller's choices.
    pub fn new(kind: Kind, choices: Choices, images: i32, work: i32) -> Self {
        let log = if kind == Kind::Restore { "restore.log" } else { "dump.log" };
        Self {
            kind,
            choices,
            images,
            work,
            log,
            pid: None,
            root: None,
            mounts: Vec::new(),
            external: Vec::new(),
            inherit: Vec::new(),
            join: Vec::new(),
            cgroups: Vec::new(),
            freezer: None,
            no_cgroups: false,
            notify: false,
        }
    }

    /// As it goes over the socket.
    pub fn encode(&self) -> Vec<u8> {
        let mut request = Writer::default();
        request.number(1, self.kind as i64);
        request.message(2, self.options());
        request.bytes()
    }

    fn options(&self) -> Writer {
        let mut to = Writer::default();
        to.number(1, self.images.into());
        to.number(17, self.work.into());
        to.number(9, 4); // log level: debug; what went wrong is often said in a line before the error
        to.text(10, self.log);
        if let Some(pid) = self.pid {
            to.number(2, pid.into());
        }
        if let Some(root) = &self.root {
            to.text(13, root);
        }
        to.number(45, PATIENCE);
        to.flag(50, true); // a terminal's master is with us, not in the container
        to.flag(12, self.notify || self.kind == Kind::Restore); // notifications
        to.flag(26, self.kind == Kind::Restore); // what is brought back is our child, not CRIU's
        to.flag(30, true); // mounts may receive from the host's
        self.outside(&mut to);
        self.cgroups(&mut to);
        self.choices.encode(self.kind, &mut to);
        to
    }

    fn outside(&self, to: &mut Writer) {
        for (key, value) in &self.mounts {
            to.message(23, pair(key, value));
        }
        for external in &self.external {
            to.text(37, external);
        }
        for (key, number) in &self.inherit {
            let mut inherit = Writer::default();
            inherit.text(1, key);
            inherit.number(2, (*number).into());
            to.message(27, inherit);
        }
        for (kind, file) in &self.join {
            to.message(39, pair(kind, file));
        }
    }

    fn cgroups(&self, to: &mut Writer) {
        let mode = match self.choices.cgroups {
            Some(mode) => mode,
            None if self.no_cgroups => CgroupMode::Ignore,
            None => CgroupMode::Soft,
        };
        to.flag(24, true);
        to.number(34, mode.number());
        for (controllers, path) in &self.cgroups {
            to.message(25, pair(controllers, path));
        }
        if let Some(freezer) = &self.freezer {
            to.text(44, freezer);
        }
    }
}

fn pair(first: &str, second: &str) -> Writer {
    let mut pair = Writer::default();
    pair.text(1, first);
    pair.text(2, second);
    pair
}

impl Choices {
    fn encode(&self, kind: Kind, to: &mut Writer) {
        for (field, on) in [
            (3, self.leave_running),
            (4, self.ext_unix_sk),
            (5, self.tcp_established),
            (7, self.shell_job),
            (8, self.file_locks),
            (16, self.auto_dedup),
            (18, self.link_remap),
            (46, self.tcp_skip_in_flight),
            (48, self.lazy_pages),
            (52, self.tcp_close),
            // A dump after another, or before one, counts which pages change in between.
            (15, kind == Kind::PreDump || self.parent.is_some()),
        ] {
            to.flag(field, on);
        }
        if let Some(PageServer { address, port }) = &self.page_server {
            let mut server = Writer::default();
            server.text(1, address);
            server.number(2, (*port).into());
            to.message(11, server);
        }
        if self.empty_namespaces != 0 {
            to.number(38, self.empty_namespaces.into());
        }
        for (field, text) in
            [(14, &self.parent), (51, &self.config_file), (53, &self.lsm_profile), (63, &self.lsm_mount_context)]
        {
            if let Some(text) = text {
                to.text(field, text);
            }
        }
    }
}

/// The answer to a notification.
pub(super) fn acknowledge(success: bool) -> Vec<u8> {
    let mut request = Writer::default();
    request.number(1, NOTIFY);
    request.number(3, success.into());
    request.bytes()
}

/// What CRIU says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Whether it is a notification, which wants an answer; else it is the end.
    pub is_notice: bool,
    /// Whether it was done.
    pub success: bool,
    /// A notification's name.
    pub script: String,
    /// The pid that it, or a restore, is about.
    pub pid: i32,
    /// An errno, 0 if CRIU has none to give.
    pub errno: i32,
    /// What CRIU says itself about its failure.
    pub message: String,
}

impl Answer {
    /// From the socket.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut answer = Answer::default();
        let mut is_typed = false;
        for (field, value) in wire::fields(bytes)? {
            match field {
                1 => (is_typed, answer.is_notice) = (true, value.number() == NOTIFY),
                2 => answer.success = value.number() != 0,
                4 => answer.pid = inner(&value, 1)?.number() as i32,
                5 => {
                    for (field, value) in value.fields()? {
                        match field {
                            1 => answer.script = value.text(),
                            2 => answer.pid = value.number() as i32,
                            _ => {}
                        }
                    }
                }
                7 => answer.errno = value.number() as i32,
                9 => answer.message = value.text(),
                _ => {}
            }
        }
        is_typed.then_some(answer)
    }
}

fn inner<'v>(value: &'v wire::Value<'_>, wanted: u32) -> Option<wire::Value<'v>> {
    value.fields()?.into_iter().find(|(field, _)| *field == wanted).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of a request's options.
    fn options(request: &Request) -> Vec<(u32, String)> {
        let bytes = request.encode();
        let fields = wire::fields(&bytes).unwrap();
        assert_eq!((fields[0].0, fields[0].1.number()), (1, request.kind as i64));
        let show = |value: &wire::Value<'_>| match value {
            wire::Value::Number(n) => (*n as i64).to_string(),
            wire::Value::Bytes(_) => value.text(),
        };
        fields[1].1.fields().unwrap().iter().map(|(field, value)| (*field, show(value))).collect()
    }

    #[test]
    fn a_dump_says_what_was_chosen_and_no_more() {
        let choices = Choices { file_locks: true, parent: Some("../pre".into()), ..Choices::default() };
        let mut request = Request::new(Kind::Dump, choices, 5, 6);
        request.pid = Some(77);
        let said = options(&request);
        for (field, value) in
            [(1, "5"), (17, "6"), (2, "77"), (8, "1"), (14, "../pre"), (15, "1"), (34, "3"), (10, "dump.log")]
        {
            assert!(said.contains(&(field, value.to_owned())), "{field}: {said:?}");
        }
        for absent in [3, 4, 5, 7, 12, 26, 38, 49, 51] {
            assert!(said.iter().all(|(field, _)| *field != absent), "{absent}: {said:?}");
        }
    }

    #[test]
    fn a_restore_wants_notifications_and_a_child_of_ours() {
        let request = Request::new(Kind::Restore, Choices::default(), 3, 3);
        let said = options(&request);
        assert!(said.contains(&(12, "1".into())) && said.contains(&(26, "1".into())), "{said:?}");
        let ignored = options(&Request { no_cgroups: true, ..request });
        assert!(ignored.contains(&(34, "0".into())), "{ignored:?}");
    }

    #[test]
    fn answers_are_read() {
        let mut notify = Writer::default();
        notify.text(1, "post-restore");
        notify.number(2, 4711);
        let mut bytes = Writer::default();
        bytes.number(1, NOTIFY);
        bytes.number(2, 1);
        bytes.message(5, notify);
        let answer = Answer::decode(&bytes.bytes()).unwrap();
        assert_eq!((answer.is_notice, answer.script.as_str(), answer.pid), (true, "post-restore", 4711));
        let mut failed = Writer::default();
        failed.number(1, Kind::Dump as i64);
        failed.number(2, 0);
        failed.number(7, 17);
        failed.text(9, "no");
        let answer = Answer::decode(&failed.bytes()).unwrap();
        assert_eq!(answer, Answer { errno: 17, message: "no".into(), ..Answer::default() });
        assert_eq!(Answer::decode(b""), None);
        assert_eq!(Answer::decode(b"\xff\xff"), None);
    }
}
