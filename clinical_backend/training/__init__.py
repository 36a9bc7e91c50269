"""What learns beside the rounds: adaptation and fine-tuning."""
