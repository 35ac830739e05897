"""Who moves the money: the interface, in Stripe's shape, and the simulated provider behind it."""
