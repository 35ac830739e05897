"""What carries events from one service to others: a file on this machine, RabbitMQ, or NATS JetStream."""
