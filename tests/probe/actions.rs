//! The small things that a test lets the probe do inside.

use std::fs;
use std::io::Write;

use crate::{Outcome, kernel};

/// Dies by a signal.
pub fn signal_self(signal: i32) -> Outcome {
    // SAFETY: no pointers.
    unsafe { libc::kill(libc::getpid(), signal) };
    // The first process of a pid namespace does not die by its own signals; only the kernel can do that.
    Ok(121)
}

/// Waits for ever; prints `ready` first.
pub fn sleep_for_ever() -> Outcome {
    say("ready");
    loop {
        // SAFETY: pause takes nothing.
        unsafe { libc::pause() };
    }
}

/// `trap NAME…`: waits for one of the signals, prints which one, and exits with 7.
pub fn trap(words: &[&str]) -> Outcome {
    let signals: Vec<i32> = words.iter().map(|name| signal_number(name)).collect::<Result<_, _>>()?;
    let got = kernel::wait_signal(&signals, || say("ready")).ok_or("sigwait failed")?;
    println!("got {got}");
    Ok(7)
}

fn signal_number(name: &str) -> Result<i32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let long = if name.starts_with("SIG") { name.to_owned() } else { format!("SIG{name}") };
    long.parse::<nix::sys::signal::Signal>().map(|signal| signal as i32).map_err(|_| format!("no such signal: {name}"))
}

/// `notify LINE…`: tells the socket that NOTIFY_SOCKET names all of these lines in one message.
pub fn notify(lines: &[&str]) -> Outcome {
    let to = std::env::var("NOTIFY_SOCKET").map_err(|_| "NOTIFY_SOCKET is not set")?;
    let socket = std::os::unix::net::UnixDatagram::unbound().map_err(|e| e.to_string())?;
    socket.send_to(lines.join("\n").as_bytes(), &to).map_err(|e| format!("{to}: {e}"))?;
    Ok(0)
}

/// One variable a line.
pub fn print_env() -> Outcome {
    for line in crate::fingerprint::environment() {
        println!("{line}");
    }
    Ok(0)
}

/// `write PATH TEXT`: prints `ok` or the errno; exit 0 or 1.
pub fn write(words: &[&str]) -> Outcome {
    let [path, text] = words else { return Err("write PATH TEXT".into()) };
    let answer = fs::OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    Ok(verdict(answer.map(|()| String::new())))
}

/// `read PATH`: prints the content or the errno; exit 0 or 1.
pub fn read(words: &[&str]) -> Outcome {
    let [path] = words else { return Err("read PATH".into()) };
    Ok(verdict(fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())))
}

fn verdict(answer: std::io::Result<String>) -> i32 {
    match answer {
        Ok(text) => {
            println!("ok {text}");
            0
        }
        Err(e) => {
            println!("{}", kernel::name_of(e.raw_os_error().unwrap_or(0)));
            1
        }
    }
}

/// `syscall NR[,ARG…] …`: one line for each call: what it returned, or the errno. An argument is a number or a text.
pub fn syscall(words: &[&str]) -> Outcome {
    for word in words {
        let mut texts = Vec::new();
        let mut numbers = [0; 7];
        for (slot, argument) in numbers.iter_mut().zip(word.split(',')) {
            *slot = match parse(argument) {
                Some(number) => number,
                None => {
                    texts.push(kernel::c_string(argument));
                    texts.last().map_or(0, |text| text.as_ptr() as i64)
                }
            };
        }
        let [number, args @ ..] = numbers;
        match kernel::call(number, args) {
            Ok(value) => println!("{value}"),
            Err(errno) => println!("{}", kernel::name_of(errno)),
        }
        drop(texts);
    }
    Ok(0)
}

fn parse(word: &str) -> Option<i64> {
    match word.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok().map(|number| number as i64),
        None => word.parse().ok(),
    }
}

/// Forks up to `wanted` children that sleep, prints how many there were and why it stopped, and exits; as the first
/// process of the pid namespace it takes them with it.
pub fn fork_sleep(wanted: u64) -> Outcome {
    let mut children = 0;
    let mut why = String::from("done");
    while children < wanted {
        // SAFETY: the process has one thread, so the child may run any code.
        match unsafe { libc::fork() } {
            -1 => {
                why = kernel::errno();
                break;
            }
            0 => loop {
                // SAFETY: pause takes nothing.
                unsafe { libc::pause() };
            },
            _ => children += 1,
        }
    }
    say(&format!("{children} {why}"));
    Ok(0)
}

/// Leaves a sleeping grandchild behind (in its own session, every descriptor closed) and exits at once.
pub fn orphan() -> Outcome {
    // SAFETY: one thread; the children only make calls that take numbers.
    unsafe {
        if libc::fork() == 0 {
            libc::setsid();
            libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
            loop {
                libc::pause();
            }
        }
    }
    Ok(0)
}

/// `hold-fd PATH`: keeps a file open and waits for ever.
pub fn hold_fd(words: &[&str]) -> Outcome {
    let [path] = words else { return Err("hold-fd PATH".into()) };
    let file = fs::File::open(path).map_err(|e| format!("open {path}: {e}"))?;
    let answer = sleep_for_ever();
    drop(file);
    answer
}

/// Takes that many MiB, touches every page, and says so.
pub fn alloc(mebibytes: u64) -> Outcome {
    say("begin");
    let mut memory = vec![0u8; (mebibytes << 20) as usize];
    for page in memory.chunks_mut(4096) {
        page[0] = 1;
    }
    say(&format!("have {}", std::hint::black_box(&memory).len() >> 20));
    Ok(0)
}

/// Prints `size ROWS COLUMNS`, again at each SIGWINCH, until a line with `quit` comes.
pub fn tty_size() -> Outcome {
    use nix::poll::{PollFd, PollFlags};
    use nix::sys::signal::{SigSet, Signal};
    kernel::interrupt_on(libc::SIGWINCH);
    // Blocked but for the wait: one that comes between the look and the wait must not be lost.
    let mut winch = SigSet::empty();
    winch.add(Signal::SIGWINCH);
    winch.thread_block().map_err(|e| e.to_string())?;
    let stdin = std::io::stdin();
    let mut line = Vec::new();
    loop {
        let (rows, columns) = kernel::window_size(0).ok_or("stdin is no terminal")?;
        say(&format!("size {rows} {columns}"));
        let mut fds = [PollFd::new(std::os::fd::AsFd::as_fd(&stdin), PollFlags::POLLIN)];
        if nix::poll::ppoll(&mut fds, None, Some(SigSet::empty())) == Err(nix::errno::Errno::EINTR) {
            continue;
        }
        match read_line(&mut line) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(format!("read: {e}")),
            Ok(()) if line.is_empty() || line == b"quit\n" => return Ok(0),
            Ok(()) => line.clear(),
        }
    }
}

/// Prints what it reads, until the input ends or a line with `quit` comes.
pub fn tty_echo() -> Outcome {
    say("ready");
    let mut line = Vec::new();
    loop {
        line.clear();
        read_line(&mut line).map_err(|e| format!("read: {e}"))?;
        if line.is_empty() || line == b"quit\n" {
            return Ok(0);
        }
        say(&format!("heard {}", String::from_utf8_lossy(&line).trim_end()));
    }
}

/// Appends bytes to `line` until a line end or the end of input. Unlike std's reader it gives EINTR back.
fn read_line(line: &mut Vec<u8>) -> std::io::Result<()> {
    let mut byte = [0u8; 1];
    loop {
        // SAFETY: the buffer holds one byte, the length passed.
        match unsafe { libc::read(0, byte.as_mut_ptr().cast(), 1) } {
            -1 => return Err(std::io::Error::last_os_error()),
            0 => return Ok(()),
            _ => line.push(byte[0]),
        }
        if byte[0] == b'\n' {
            return Ok(());
        }
    }
}

/// One line, at once.
pub fn say(text: &str) {
    println!("{text}");
    // A closed stdout is a legal state for the tests; there is nobody to tell.
    let _ = std::io::stdout().flush();
}

/// Waits until `path` exists.
pub fn wait_for(path: &str) {
    while fs::symlink_metadata(path).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
