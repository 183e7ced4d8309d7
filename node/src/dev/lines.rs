//! What `dev` prints: lines to paste.

use crate::dev::manifest::Manifest;

/// The text for a person at a terminal.
pub(super) fn text(manifest: &Manifest, folder: &str) -> String {
    let Manifest {
        ca_file,
        registry,
        device,
        broker,
        nodes,
        ..
    } = manifest;
    let (first, last) = (&nodes[0], &nodes[nodes.len() - 1]);
    let (port, other_port) = (port(&first.mqtts), port(&last.mqtts));
    let device_id = &device.id;
    format!(
        "Mainstay runs {count} node(s) on loopback; not for production. Everything is in {folder}/dev.json

A back end listens (node {last_name}, over TLS, as the registry):
  mosquitto_sub -h localhost -p {other_port} --cafile {ca_file} -u {registry_id} -P {registry_password} -t '$devices/{device_id}/events' -q 1 -v

A device speaks (node {first_name}, over TLS):
  mosquitto_pub -h localhost -p {port} --cafile {ca_file} -u {device_id} -P {device_password} -t '$devices/{device_id}/events' -q 1 -m hello

A plain MQTT broker of its own, on {mqtt}:
  mosquitto_sub -p {plain} -u {broker_id} -P {broker_password} -t 'demo/#' -v
  mosquitto_pub -p {plain} -u {broker_id} -P {broker_password} -t demo/hello -m world

The cluster:
  mainstay cluster status --data {folder}
  curl http://{admin}/metrics
",
        count = nodes.len(),
        last_name = last.name,
        first_name = first.name,
        registry_id = registry.id,
        registry_password = registry.password,
        device_password = device.password,
        broker_id = broker.id,
        broker_password = broker.password,
        mqtt = first.mqtt,
        plain = self::port(&first.mqtt),
        admin = first.admin,
    )
}

fn port(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(_, port)| port)
}
