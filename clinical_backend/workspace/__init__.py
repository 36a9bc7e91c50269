"""What does a process work with?"""
