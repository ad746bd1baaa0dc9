"""Settings from the environment and customers from customers.yaml, checked and typed. Secrets stay references."""
