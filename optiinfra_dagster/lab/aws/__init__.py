"""AWS as the lab shows it: real protocols on one endpoint, answered from the world or from recorded answers."""
