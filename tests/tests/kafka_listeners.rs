//! Where Kafka's clients are told that the broker is: an address that they can connect to, whatever it listens on.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::net::TcpStream;
use std::process::Command;

use folio_tests::daemon::Daemon;
use folio_tests::kafka::KafkaPeer;
use folio_tests::rig::Rig;
use folio_wire::kafka::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use folio_wire::kafka::metadata::MetadataResponse;

/// Where the broker is, as Metadata and DescribeCluster tell it.
fn told(mut peer: KafkaPeer) -> String {
    let answer = peer.metadata("t");
    let metadata: MetadataResponse<'_> = answer.message();
    assert_eq!(metadata.controller_id, metadata.brokers[0].node_id, "the controller is that broker too");
    let broker = format!("{}:{}", metadata.brokers[0].host, metadata.brokers[0].port);
    let answer = peer.call(0, &DescribeClusterRequest::default());
    let cluster: DescribeClusterResponse<'_> = answer.message();
    assert_eq!(format!("{}:{}", cluster.brokers[0].host, cluster.brokers[0].port), broker);
    broker
}

#[test]
fn a_client_is_told_to_come_back_to_the_address_that_it_came_by() {
    let rig = Rig::new(&[("listen", "0.0.0.0:0")]);
    let port = rig.broker().local_addrs()[0].port();
    for host in ["127.0.0.1", "127.0.0.2", "127.3.2.1"] {
        let address = format!("{host}:{port}");
        assert_eq!(told(KafkaPeer::connect(&address)), address);
    }
}

#[test]
fn an_ipv4_client_of_an_ipv6_listener_is_told_an_ipv4_address() {
    let rig = Rig::new(&[("listen", "[::]:0")]);
    let port = rig.broker().local_addrs()[0].port();
    assert_eq!(told(KafkaPeer::connect(&format!("127.0.0.2:{port}"))), format!("127.0.0.2:{port}"));
    assert_eq!(told(KafkaPeer::connect(&format!("[::1]:{port}"))), format!("::1:{port}"));
}

#[test]
fn each_listener_has_its_own_advertised_address_and_the_last_serves_for_the_rest() {
    let listen = "127.0.0.1:0,127.0.0.2:0,127.0.0.3:0";
    let rig = Rig::new(&[("listen", listen), ("advertise", "one.example:1111,two.example:2222")]);
    let told: Vec<String> = (rig.broker().local_addrs().iter())
        .map(|address| told(KafkaPeer::connect(&address.to_string())))
        .collect();
    assert_eq!(told, ["one.example:1111", "two.example:2222", "two.example:2222"]);
}

#[test]
fn more_advertised_addresses_than_listeners_are_a_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let refused = Daemon::try_on(dir.path(), &["--advertise", "one.example:1,two.example:2"]).unwrap_err();
    assert!(refused.contains("advertise names 2 endpoints, and listen 1 addresses"), "{refused}");
    assert!(refused.contains("exit code Some(1)"), "{refused}");
}

#[test]
fn listening_beyond_this_machine_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let warning = "nobody is asked who they are";
    let daemon = Daemon::on(dir.path(), &["--listen", "127.0.0.1:0,[::1]:0"]);
    assert!(!daemon.said().contains(warning), "{}", daemon.said());
    daemon.stop();
    let daemon = Daemon::on(dir.path(), &["--listen", "0.0.0.0:0"]);
    assert!(daemon.said().contains(warning), "{}", daemon.said());
    daemon.stop();
}

/// Two network namespaces with a cable between them. Dropped, they go.
struct Networks {
    inside: String,
    outside: String,
}

impl Networks {
    fn new() -> Self {
        let name = |side: &str| format!("folio-{side}-{}", std::process::id());
        let networks = Self { inside: name("in"), outside: name("out") };
        let (inside, outside) = (&networks.inside, &networks.outside);
        ip(&["netns", "add", inside]);
        ip(&["netns", "add", outside]);
        let cable = ["-n", inside, "link", "add", "folio0", "type", "veth", "peer", "name", "folio1"];
        ip(&[&cable[..], &["netns", outside]].concat());
        for (netns, device, address) in
            [(inside, "folio0", "192.0.2.1/24"), (outside, "folio1", "192.0.2.2/24")]
        {
            ip(&["-n", netns, "address", "add", address, "dev", device]);
            ip(&["-n", netns, "link", "set", device, "up"]);
        }
        networks
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for netns in [&self.inside, &self.outside] {
            let _ = Command::new("ip").args(["netns", "delete", netns]).status();
        }
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().unwrap();
    assert!(status.success(), "ip {arguments:?}");
}

#[test]
fn a_client_on_another_network_is_told_the_address_that_it_reached() {
    let networks = Networks::new();
    let dir = tempfile::tempdir().unwrap();
    let wrapper = ["ip", "netns", "exec", &networks.inside];
    let daemon = Daemon::under(&wrapper, dir.path(), &["--listen", "0.0.0.0:0"]);
    let port = daemon.address().rsplit_once(':').unwrap().1.to_owned();
    let outside = std::fs::File::open(format!("/run/netns/{}", networks.outside)).unwrap();
    // Only this one thread goes there.
    let there = std::thread::spawn(move || {
        let network = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&outside), network).unwrap();
        let stream = TcpStream::connect(format!("192.0.2.1:{port}")).unwrap();
        (told(KafkaPeer::over(stream)), port)
    });
    let (told, port) = there.join().unwrap();
    assert_eq!(told, format!("192.0.2.1:{port}"));
    daemon.stop();
}
