//! A workload that can be seen to go on: it counts, and takes something along that is hard to save.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::Outcome;

/// `count DIR [tcp | tcp-until-closed FILE | waiting FILE | lock FILE | unlinked FILE | datagram SOCKET | say | memory]`: counts into DIR/count until DIR/stop is there, whose number is
/// then the exit code; DIR/begun gets a line at the beginning.
pub fn count(words: &[&str]) -> Outcome {
    let (dir, how) = words.split_first().ok_or("count where?")?;
    let begun = format!("{dir}/begun");
    let mut begun = OpenOptions::new().create(true).append(true).open(begun).map_err(|e| e.to_string())?;
    begun.write_all(b"begun\n").map_err(|e| e.to_string())?;
    drop(begun);
    // Written over, never truncated: whoever looks, or is saved in between, has a number.
    let counter = OpenOptions::new().create(true).truncate(false).write(true).open(format!("{dir}/count"));
    let counter = counter.map_err(|e| e.to_string())?;
    let mut act = action(how)?;
    for number in 1u64.. {
        act(number).map_err(|e| format!("at {number}: {e}"))?;
        counter.write_all_at(format!("{number}\n").as_bytes(), 0).map_err(|e| e.to_string())?;
        if let Ok(code) = fs::read_to_string(format!("{dir}/stop")) {
            return code.trim().parse().map_err(|_| format!("not an exit code: {code}"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(0)
}

type Act = Box<dyn FnMut(u64) -> std::io::Result<()>>;

fn action(how: &[&str]) -> Result<Act, String> {
    let words = |e: std::io::Error| e.to_string();
    Ok(match how {
        [] => Box::new(|_| Ok(())),
        ["say"] => Box::new(|number| {
            println!("at {number}");
            Ok(())
        }),
        ["tcp"] => {
            let listener = TcpListener::bind("127.0.0.1:0").map_err(words)?;
            let mut here = TcpStream::connect(listener.local_addr().map_err(words)?).map_err(words)?;
            let mut there = listener.accept().map_err(words)?.0;
            Box::new(move |number| {
                here.write_all(&number.to_le_bytes())?;
                let mut heard = [0; 8];
                there.read_exact(&mut heard)?;
                assert_eq!(u64::from_le_bytes(heard), number);
                Ok(())
            })
        }
        // The same, and when the connection is no more the file says so.
        ["tcp-until-closed", file] => {
            let listener = TcpListener::bind("127.0.0.1:0").map_err(words)?;
            let mut here = TcpStream::connect(listener.local_addr().map_err(words)?).map_err(words)?;
            let mut there = listener.accept().map_err(words)?.0;
            let file = (*file).to_owned();
            Box::new(move |number| {
                let mut heard = [0; 8];
                let done = here.write_all(&number.to_le_bytes()).and_then(|()| there.read_exact(&mut heard));
                if done.is_err() { fs::write(&file, "closed") } else { Ok(()) }
            })
        }
        // Nobody is accepted; the file has the port.
        ["waiting", file] => {
            let listener = TcpListener::bind("127.0.0.1:0").map_err(words)?;
            let port = listener.local_addr().map_err(words)?.port();
            fs::write(file, port.to_string()).map_err(words)?;
            Box::new(move |_| listener.local_addr().map(drop))
        }
        // Open under a name that is gone, while another one is left.
        ["unlinked", file] => {
            let mut kept = OpenOptions::new().create_new(true).read(true).write(true).open(file).map_err(words)?;
            fs::hard_link(file, format!("{file}.other")).and_then(|()| fs::remove_file(file)).map_err(words)?;
            Box::new(move |number| kept.write_all(format!("{number}\n").as_bytes()))
        }
        // Eight megabytes, each page with its number.
        ["memory"] => {
            let pages: Vec<[u64; 512]> = (0..2048).map(|number| [number; 512]).collect();
            Box::new(move |number| {
                let at = (number as usize * 7) % pages.len();
                assert!(pages[at].iter().all(|word| *word == at as u64), "page {at}");
                Ok(())
            })
        }
        ["lock", file] => {
            let file = File::create(file).map_err(words)?;
            // SAFETY: flock takes numbers.
            if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } != 0 {
                return Err(words(std::io::Error::last_os_error()));
            }
            Box::new(move |_| file.metadata().map(drop))
        }
        ["datagram", socket] => {
            let ours = UnixDatagram::unbound().map_err(words)?;
            ours.connect(socket).map_err(words)?;
            ours.set_nonblocking(true).map_err(words)?;
            Box::new(move |number| match ours.send(number.to_string().as_bytes()) {
                Err(e) if e.kind() != std::io::ErrorKind::WouldBlock => Err(e),
                _ => Ok(()),
            })
        }
        other => return Err(format!("count with {other:?}?")),
    })
}
