"""Trainings that answer a question: what is a learned shape worth, is it the right one, what does rounding cost?"""
