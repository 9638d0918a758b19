//! Answers to several questions at once, told together, in the order of the questions.

use std::sync::{Arc, Mutex, PoisonError};

type Then<T> = Box<dyn FnOnce(Vec<T>) + Send>;

/// Waits for so many answers, and then tells all of them. Dropped before, it tells nobody.
pub(crate) struct Gather<T>(Arc<Mutex<State<T>>>);

struct State<T> {
    answers: Vec<Option<T>>,
    missing: usize,
    then: Option<Then<T>>,
}

impl<T> Clone for Gather<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send> Gather<T> {
    /// Waits for `count` answers. Without any it tells so at once.
    pub(crate) fn new(count: usize, then: impl FnOnce(Vec<T>) + Send + 'static) -> Self {
        let answers = std::iter::repeat_with(|| None).take(count).collect();
        let gather =
            Self(Arc::new(Mutex::new(State { answers, missing: count, then: Some(Box::new(then)) })));
        gather.tell_if_complete();
        gather
    }

    /// The answer to the question of this number.
    pub(crate) fn put(&self, number: usize, answer: T) {
        {
            let mut state = self.lock();
            if let Some(place @ None) = state.answers.get_mut(number) {
                *place = Some(answer);
                state.missing -= 1;
            }
        }
        self.tell_if_complete();
    }

    fn tell_if_complete(&self) {
        let complete = {
            let mut state = self.lock();
            let is_complete = state.missing == 0;
            let then = if is_complete { state.then.take() } else { None };
            then.map(|then| (then, std::mem::take(&mut state.answers)))
        };
        if let Some((then, answers)) = complete {
            then(answers.into_iter().flatten().collect());
        }
    }

    // Nothing panics under this lock.
    fn lock(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn answers_are_told_together_in_the_order_of_their_questions() {
        let (told, answers) = channel();
        let gather = Gather::new(2, move |answers| told.send(answers).unwrap());
        gather.put(1, "b");
        gather.put(1, "again");
        assert!(answers.try_recv().is_err());
        gather.clone().put(0, "a");
        assert_eq!(answers.try_recv(), Ok(vec!["a", "b"]));
    }

    #[test]
    fn no_question_is_answered_at_once() {
        let (told, answers) = channel();
        let _ = Gather::<()>::new(0, move |answers| told.send(answers).unwrap());
        assert_eq!(answers.try_recv(), Ok(Vec::new()));
    }
}
