"""What becomes of flows and orchestrations, told over MQTT: topics, payloads, the connection."""
