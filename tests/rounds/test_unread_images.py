from clinical_backend.rounds.unread_images import UnreadImages, notes_on_images

READ = UnreadImages(unreadable=0, waiting=0, held_back=0, goes_on=False)


def test_one_image_and_several_are_told_in_words_of_their_number():
    assert notes_on_images(None, READ, 1, 1) == [
        "1 image is an exact copy of an answered or queued one, and is not queued.",
        "1 image looks like an answered or queued one that was saved again, and comes behind all others.",
    ]
    assert [note.split(",")[0] for note in notes_on_images(None, READ, 2, 3)] == [
        "2 images are exact copies of answered or queued ones",
        "3 images look like answered or queued ones that were saved again",
    ]
