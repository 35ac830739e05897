"""Message brokers that carry events between services: a local file, RabbitMQ, NATS JetStream or Kafka."""
