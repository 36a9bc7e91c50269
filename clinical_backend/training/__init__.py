"""What learns beside the rounds?"""
