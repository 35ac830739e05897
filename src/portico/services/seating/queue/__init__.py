"""The waiting room: when many users want to buy, they join a queue and are admitted in the order of arrival."""
