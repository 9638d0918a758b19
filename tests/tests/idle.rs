//! What a daemon costs that has nothing to do: its start, and the memory it keeps.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use folio_tests::daemon::Daemon;

const START_MS_MAX: f64 = 10.0;
const IDLE_BYTES_MAX: u64 = 8000 * 1024;

#[test]
fn an_empty_daemon_starts_in_10_ms_beside_its_syncs_and_keeps_less_than_8_mb() {
    // Other tests run at the same time: the quickest of some starts is what the start itself takes.
    let mut quickest = f64::MAX;
    let mut most = 0;
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::on(dir.path(), &[]);
        let (took, syncs) = times(&daemon.start_line());
        quickest = quickest.min(took - syncs);
        most = most.max(daemon.anonymous_bytes());
        assert!(daemon.stop().success());
        if quickest < START_MS_MAX {
            break;
        }
    }
    println!("started in {quickest:.1} ms beside its syncs, {most} bytes of anonymous memory");
    assert!(quickest < START_MS_MAX, "{quickest} ms");
    assert!(most < IDLE_BYTES_MAX, "{most} bytes");
}

/// "foliod 0.1.0 started in 3.1 ms (7 syncs: 1.2 ms), ...": how long the start took, and the syncs in it.
fn times(start_line: &str) -> (f64, f64) {
    let between = |text: &'static str| start_line.split_once(text).unwrap().1.split_once(" ms").unwrap().0;
    let syncs: u64 = between(" ms (").split_once(' ').unwrap().0.parse().unwrap();
    assert!(syncs > 0, "{start_line}");
    (between("started in ").parse().unwrap(), between("syncs: ").parse().unwrap())
}
