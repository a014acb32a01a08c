"""The cloud broker where it is a RabbitMQ cluster: what takes faces from it by AMQP 0.9.1."""
