"""What may the outside ask?"""
