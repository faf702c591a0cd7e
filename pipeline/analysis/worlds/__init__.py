"""What a world model knows: hits of its rollouts, and what the group's action leaves of them."""
