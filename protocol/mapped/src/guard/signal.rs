//! The handler of `SIGBUS`.
//!
//! It runs between any two instructions of any thread, so it does nothing but atomic loads and stores, and system calls
//! that a handler may make; and it leaves `errno` as it was.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::TABLE;

/// From now on a touch of a mapped page that is gone poisons its map, instead of ending the process.
///
/// It concerns the whole process, and is a program's decision. Signals that have nothing to do with maps of this crate
/// go to whoever handled them before (the standard library, to tell of a stack that has overflowed; or the default,
/// which ends the process). Called again, it does nothing. Threads that block `SIGBUS` are not protected; the calling
/// one no longer blocks it.
///
/// # Errors
///
/// Those of `sigaction`.
pub fn guard_against_sigbus() -> io::Result<()> {
    static IS_INSTALLED: Mutex<bool> = Mutex::new(false);

    let mut is_installed = IS_INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if *is_installed {
        return Ok(());
    }
    // The handler may have to know it before `sigaction` returns, and must not ask for it.
    PAGE_SIZE.store(rustix::param::page_size(), Ordering::Release);
    let mut previous = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call only writes the present one, into memory of that type.
    check(unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), previous.as_mut_ptr()) })?;
    // SAFETY: the call has succeeded, so it is written; and it was zeroed before, which is a value of it as well.
    let _ = PREVIOUS.set(unsafe { previous.assume_init() });

    check(handle())?;
    unblock()?;
    *is_installed = true;
    Ok(())
}

/// Makes ours the handler. May be called by a handler.
fn handle() -> libc::c_int {
    let mut action = default_action();
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
    action.sa_sigaction = handler as *const () as usize;
    // On the alternative stack: the chain leads to who tells of stacks that have overflowed.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler is of the type that SA_SIGINFO asks for, and does only what a handler may.
    unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) }
}

/// What the kernel does if nobody has a wish.
fn default_action() -> libc::sigaction {
    // SAFETY: all zeros are a value of this plain struct: the default action, no flags, an empty mask.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// A blocked `SIGBUS` ends the process, whatever handles it; a mask is inherited, from whoever started us as well.
fn unblock() -> io::Result<()> {
    // SAFETY: a set of signals is plain data; zeroed it is one, and an empty one on Linux.
    let mut set: libc::sigset_t = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the set is ours, and SIGBUS is a signal.
    check(unsafe { libc::sigaddset(&raw mut set, libc::SIGBUS) })?;
    // SAFETY: the set lives for the call, which changes nothing but the mask of this thread.
    match unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Who handled the signal before.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();
static PAGE_SIZE: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the address of this thread's `errno` is valid as long as the thread runs.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: with SA_SIGINFO the kernel passes a valid `siginfo_t` for the time of the call, and nobody writes it.
    let of = unsafe { &*info };
    let code = of.si_code;
    // SAFETY: a union of plain numbers, whose bytes the kernel has all written; for another code the number means
    // nothing.
    let address = unsafe { of.si_addr() } as usize;
    if !is_dealt_with(code, address) {
        chain(signal, code, info, context);
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Poisons the map that the address lies in, if there is one, and puts a page of zeros where it was touched.
fn is_dealt_with(code: libc::c_int, address: usize) -> bool {
    let is_touch = matches!(code, libc::BUS_ADRERR | libc::BUS_MCEERR_AR);
    if !is_touch && code != libc::BUS_MCEERR_AO {
        return false;
    }
    let page_size = PAGE_SIZE.load(Ordering::Acquire);
    let page = address & !(page_size - 1);
    let Some((entry, position)) = TABLE.find(page) else { return false };
    entry.poison(position);
    // The news of a page that nobody has touched may come late, when the addresses are somebody else's.
    if !is_touch {
        return true;
    }
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: the page lies in a mapping of this crate: who touches one holds its slice, so neither the mapping nor its
    // entry goes before we return (invariant 6). No reference to its bytes exists (invariant 1), so replacing them
    // changes nothing that anybody relies on; they stay readable, and not writable (invariant 7).
    let mapped =
        unsafe { libc::mmap(ptr::without_provenance_mut(page), page_size, libc::PROT_READ, flags, -1, 0) };
    mapped != libc::MAP_FAILED
}

/// Does what would have been done without the guard.
fn chain(signal: libc::c_int, code: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(previous) = PREVIOUS.get() else { return };
    match previous.sa_sigaction {
        // Ignoring a fault would mean to run into it for ever; the kernel does not allow for that either.
        libc::SIG_IGN if code <= 0 => {}
        libc::SIG_IGN | libc::SIG_DFL => {
            let default = default_action();
            // SAFETY: the default action needs nothing of us, and the struct lives for the call.
            unsafe { libc::sigaction(signal, &raw const default, ptr::null_mut()) };
            // A fault happens again on return. What somebody has sent does not: it is sent again.
            if code <= 0 {
                // SAFETY: `raise` may be called by a handler; the signal is blocked until this one returns.
                unsafe { libc::raise(signal) };
            }
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the flag says that this is the type of the handler that was installed under this address.
            let handler = unsafe {
                std::mem::transmute::<
                    usize,
                    extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void),
                >(handler)
            };
            handler(signal, info, context);
            // That of the standard library leaves a fault to the default action, and returns to it. What somebody has
            // sent is over by then, and the process lives on: not without its guard.
            if code <= 0 || code == libc::BUS_MCEERR_AO {
                handle();
            }
        }
        handler => {
            // SAFETY: without the flag a handler that is neither of the two constants is of this type.
            let handler = unsafe { std::mem::transmute::<usize, extern "C" fn(libc::c_int)>(handler) };
            handler(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    const MARK: &str = "FOLIO_MAPPED_ELSEWHERE";

    #[test]
    #[cfg_attr(miri, ignore = "maps a file")]
    fn a_fault_outside_of_our_maps_ends_the_process_as_before() {
        if std::env::var_os(MARK).is_some() {
            guard_against_sigbus().unwrap();
            let file = tempfile::tempfile().unwrap();
            let map = memmap2::MmapOptions::new().len(4096).map_raw_read_only(&file).unwrap();
            println!("{MARK}");
            // SAFETY: the map is there; its page is not, which is the point.
            println!("{}", unsafe { map.as_ptr().read_volatile() });
            return;
        }
        let name = "guard::signal::tests::a_fault_outside_of_our_maps_ends_the_process_as_before";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let child = child.args(["--exact", name, "--nocapture"]).env(MARK, "1").output().unwrap();
        assert!(String::from_utf8_lossy(&child.stdout).contains(MARK), "it came to the fault: {child:?}");
        assert_eq!(child.status.signal(), Some(libc::SIGBUS), "{child:?}");
    }
}
