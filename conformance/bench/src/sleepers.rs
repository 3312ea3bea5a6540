//! Threads that do nothing but be there: what they cost others is what is measured. They are processes of their own, for
//! who has threads can't change its mount namespace.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread;

/// The argument with which this program is such a process, followed by how many threads it has.
pub const ARGUMENT: &str = "--sleepers";
/// The threads of one process.
const EACH: usize = 1000;

/// The processes; they end with this value.
pub struct Sleepers(Vec<Child>);

impl Sleepers {
    /// About this many threads, all of them there when this returns.
    pub fn new(threads: usize) -> io::Result<Sleepers> {
        let mut all = Sleepers(Vec::new());
        for _ in 0..threads.div_ceil(EACH) {
            let mut command = Command::new("/proc/self/exe");
            command.args([ARGUMENT, &EACH.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn()?;
            let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
            all.0.push(child);
            if BufReader::new(stdout).read_line(&mut String::new())? == 0 {
                return Err(io::Error::other("the threads could not be made"));
            }
        }
        Ok(all)
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

/// What such a process does: makes its threads, says so, and waits until its caller is gone.
#[allow(clippy::disallowed_methods)] // this process does nothing that wants a single thread
pub fn sleep(threads: &str) -> io::Result<()> {
    for _ in 0..threads.parse::<usize>().map_err(io::Error::other)? {
        thread::Builder::new().stack_size(16 << 10).spawn(|| {
            loop {
                thread::park();
            }
        })?;
    }
    println!("ready");
    io::stdin().read_to_end(&mut Vec::new()).map(drop)
}
